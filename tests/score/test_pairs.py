"""The judges on real recordings."""

import sys
from pathlib import Path

import pytest
import torch

from speechvq.errors import BadAudio, BadSetting, MissingExtra
from speechvq.score import speech
from speechvq.score.pairs import Pair, score_files, score_pair
from speechvq.score.speech import (
    Clip,
    naturalness,
    samples_of,
    speaker_embedding,
    speaker_similarity,
    transcriber,
    voice_embedding,
    word_error_rate,
)

ASSETS = Path(__file__).parent / "assets"
SLT, RMS = ASSETS / "slt1.flac", ASSETS / "rms1.flac"
TEXT = "The train was late again."


def test_a_faultless_conversion_scores_well(rows):
    score = rows[0].score
    assert (score.wer, score.source_wer) == (0.0, 0.0)
    assert score.target_similarity > 0.8 > score.source_similarity
    assert score.closer
    assert 2.5 < score.mos < 4
    assert score.mcd == pytest.approx(0, abs=1e-4)
    assert score.seconds == pytest.approx(1.665)
    assert score.duration_difference == pytest.approx(0.215)


def test_no_conversion_at_all_scores_badly_where_it_should(rows):
    score = rows[1].score
    assert not score.closer
    assert score.f0_correlation == pytest.approx(1.0)
    assert score.mcd > 5
    assert score.duration_difference == 0
    assert score.mos == pytest.approx(score.source_mos)


def test_rows_come_in_the_order_given(rows, pairs):
    assert [row.pair for row in rows] == pairs


def test_without_a_text_or_a_parallel_recording_those_figures_are_missing():
    score = score_pair(SLT, RMS, target_references=[RMS], source_references=[SLT], text=None)
    assert (score.wer, score.source_wer, score.transcript, score.mcd) == (None, None, None, None)
    assert score.target_similarity == pytest.approx(1.0, abs=1e-4)


def test_words_are_heard_and_errors_counted():
    assert transcriber().wer(SLT, TEXT) == 0.0
    assert transcriber().wer(samples_of(SLT), "The bus was late again today.") > 0.2
    assert word_error_rate("it's 7:30", "Its seven thirty.") == 0.0
    assert word_error_rate("one two three four", "one too three four five") == 0.5
    with pytest.raises(BadSetting, match="no words"):
        word_error_rate("...", "a")


def test_noise_does_not_make_the_recogniser_go_on_and_on():
    noise = 0.05 * torch.randn(1, 16_000)
    assert len(transcriber().transcribe(noise).split()) < 25


def test_speakers_are_told_apart():
    slt, rms = speaker_embedding(SLT), speaker_embedding(RMS)
    assert slt.shape == (256,)
    assert slt.dtype == torch.float32
    assert float(slt.norm()) == pytest.approx(1, abs=1e-4)
    assert (
        speaker_similarity(slt, rms) < 0.75 < speaker_similarity(slt, speaker_embedding(ASSETS / "slt2.flac"))
    )
    both = voice_embedding([SLT, ASSETS / "slt2.flac"])
    assert float(both.norm()) == pytest.approx(1, abs=1e-4)


def test_samples_files_and_parts_of_files_are_one_recording():
    wave = samples_of(SLT)
    part = samples_of(Clip(str(SLT), 0.5, 1.0))
    assert torch.equal(part, wave[:, 8000:24_000])
    assert torch.equal(speaker_embedding(wave), speaker_embedding(str(SLT)))


def test_hiss_is_heard_as_less_natural():
    wave = samples_of(RMS)
    assert naturalness(wave).overall > naturalness(wave + 0.05 * torch.randn_like(wave)).overall + 0.3


def test_a_silent_conversion_is_scored_and_not_an_error():
    silence = torch.zeros(1, 16_000)
    score = score_pair(SLT, silence, target_references=[RMS], source_references=[SLT], text=TEXT)
    assert score.wer >= 0.8
    assert (score.target_similarity, score.f0_correlation) == (0.0, None)


def test_what_cannot_be_heard_is_refused():
    for wave, reason in ((torch.zeros(1, 0), "empty"), (torch.full((1, 99), torch.nan), "not numbers")):
        with pytest.raises(BadAudio, match=reason):
            samples_of(wave)
    with pytest.raises(BadAudio, match="silent"):
        speaker_embedding(torch.zeros(1, 16_000))
    with pytest.raises(BadSetting, match="reference"):
        voice_embedding([])
    with pytest.raises(BadSetting, match="no reference recordings of rms"):
        score_files([Pair(SLT, RMS, "slt", "rms")], {"slt": [SLT]})


def test_a_judge_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingExtra, match="word error rate needs faster-whisper"):
        speech.Transcriber()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(rows, pairs):
    again = score_files(pairs, {voice: [ASSETS / f"{voice}2.flac"] for voice in ("slt", "rms")}, jobs=2)
    for ours, theirs in zip(rows, again, strict=True):
        assert ours.score.transcript == theirs.score.transcript
        assert ours.score.mos == pytest.approx(theirs.score.mos, abs=1e-3)
        assert ours.score.target_similarity == pytest.approx(theirs.score.target_similarity, abs=1e-4)
