"""Scores of one converted recording, and of many in several processes.

Everything is measured on the converted recording against its source, the words that were said, and other
recordings of the two voices. The same judges hear the source, so that their own errors are known.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.score.speech import (
    SAMPLE_RATE,
    Recording,
    naturalness,
    samples_of,
    speaker_embedding,
    speaker_similarity,
    transcriber,
    voice_embedding,
    word_error_rate,
)
from speechvq.score.words import normalise
from speechvq.score.workers import Workers
from speechvq.speech.measure import log_f0_correlation, mel_cepstral_distortion


@dataclass(frozen=True)
class SourceScore:
    """What the judges say about the source recording itself.

    Attributes:
        wer: word error rate, None without a text.
        transcript: what was heard, None without a text.
        mos: DNSMOS overall, 1 to 5.
    """

    wer: float | None
    transcript: str | None
    mos: float


@dataclass(frozen=True)
class PairScore:
    """What the judges say about one conversion.

    Attributes:
        wer: word error rate of the conversion, None without a text.
        source_wer: the same of the source recording.
        transcript: what was heard in the conversion, None without a text.
        source_transcript: what was heard in the source.
        target_similarity: cosine to the target voice, in [0, 1].
        source_similarity: cosine to the source voice, in [0, 1].
        mos: DNSMOS overall, 1 to 5.
        mos_signal: DNSMOS of the speech itself.
        source_mos: DNSMOS overall of the source recording.
        f0_correlation: of log-F0 with the source, in [-1, 1]; None with too few voiced frames.
        mcd: mel-cepstral distortion in dB to the target's own recording of the words, None without one.
        seconds: length of the source.
        duration_difference: length of the conversion minus that of the source, in seconds.
    """

    wer: float | None
    source_wer: float | None
    transcript: str | None
    source_transcript: str | None
    target_similarity: float
    source_similarity: float
    mos: float
    mos_signal: float
    source_mos: float
    f0_correlation: float | None
    mcd: float | None
    seconds: float
    duration_difference: float

    @property
    def closer(self) -> bool:
        """Whether it sounds more like the target than like the source."""
        return self.target_similarity > self.source_similarity


@dataclass(frozen=True)
class Pair:
    """A conversion to be scored; ``text`` None: no word error rate; ``parallel`` None: no MCD."""

    source: Recording  # what went in
    converted: Recording  # what came out
    source_speaker: str  # the voice that went in
    target_speaker: str  # the voice that should come out
    utterance: str = ""  # what to call it in tables
    text: str | None = None  # the words said, in English
    parallel: Recording | None = None  # the target speaker saying the same words


@dataclass(frozen=True)
class Row:
    """A conversion and its scores."""

    pair: Pair
    score: PairScore


def score_source(source: Recording, text: str | None) -> SourceScore:
    """Have the judges hear a recording as it is; ``text`` None leaves the words out."""
    text = text if text and normalise(text) else None
    heard = transcriber().transcribe(source) if text else None
    wer = word_error_rate(text, heard) if text and heard is not None else None
    return SourceScore(wer, heard, naturalness(source).overall)


def score_pair(
    source: Recording,
    converted: Recording,
    *,
    target_references: Sequence[Recording] | Tensor,
    source_references: Sequence[Recording] | Tensor,
    text: str | None,
    parallel: Recording | None = None,
    known: SourceScore | None = None,
) -> PairScore:
    """Score one conversion.

    Args:
        source: the recording that was converted.
        converted: what came out.
        target_references: other recordings of the target voice, or their `voice_embedding` (256,).
        source_references: other recordings of the source voice, or their embedding.
        text: the words said, in English; None when unknown or in another language.
        parallel: the target voice saying the same words, if there is such a recording.
        known: `score_source` of the source, when it has been made already.

    Raises:
        BadAudio: a recording cannot be used.
        MissingExtra: a judge is not installed.
    """
    before, after = samples_of(source), samples_of(converted)
    known = known or score_source(before, text)
    heard = transcriber().transcribe(after) if known.wer is not None else None
    quality = naturalness(after)
    who = speaker_embedding(after) if bool(after.any()) else torch.zeros(256)
    return PairScore(
        wer=word_error_rate(text, heard) if text and heard is not None else None,
        source_wer=known.wer,
        transcript=heard,
        source_transcript=known.transcript,
        target_similarity=speaker_similarity(who, _voice(target_references)),
        source_similarity=speaker_similarity(who, _voice(source_references)),
        mos=quality.overall,
        mos_signal=quality.signal,
        source_mos=known.mos,
        f0_correlation=log_f0_correlation(before, after),
        mcd=None if parallel is None else mel_cepstral_distortion(samples_of(parallel), after),
        seconds=before.shape[1] / SAMPLE_RATE,
        duration_difference=(after.shape[1] - before.shape[1]) / SAMPLE_RATE,
    )


def score_files(
    pairs: Iterable[Pair],
    references: Mapping[str, Sequence[Recording]],
    *,
    jobs: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Score many conversions; a source that was converted several times is judged once.

    Args:
        pairs: the conversions.
        references: by voice, several recordings of it; none should be among the sources.
        jobs: processes; with more than one, a script must guard its start (``__name__``).
        watch: called with (pairs done, pairs in all) now and then.

    Returns:
        One row a pair, in the order given.
    """
    pairs = list(pairs)
    voices = {name for pair in pairs for name in (pair.source_speaker, pair.target_speaker)}
    if missing := sorted(voice for voice in voices if not references.get(voice)):
        raise BadSetting(f"there are no reference recordings of {', '.join(missing)}")
    groups: dict[object, list[int]] = {}
    for place, pair in enumerate(pairs):
        key = id(pair.source) if isinstance(pair.source, Tensor) else pair.source
        groups.setdefault((key, pair.source_speaker, pair.text), []).append(place)
    wanted = {name: list(references[name]) for name in sorted(voices)}
    found: dict[int, PairScore] = {}
    with Workers(jobs) as workers:
        embedded = dict(zip(wanted, workers.each(_embed, wanted.values()), strict=True))
        tasks = [[pairs[place] for place in places] for places in groups.values()]
        judge = functools.partial(_score_group, voices=embedded)
        for task, scores in workers.any_order(judge, tasks):
            found |= dict(zip(list(groups.values())[task], scores, strict=True))
            if watch:
                watch(len(found), len(pairs))
    return [Row(pair, found[place]) for place, pair in enumerate(pairs)]


def _embed(recordings: Sequence[Recording]) -> list[float]:
    return voice_embedding(recordings).tolist()


def _score_group(pairs: Sequence[Pair], *, voices: Mapping[str, list[float]]) -> list[PairScore]:
    known = score_source(pairs[0].source, pairs[0].text)
    return [
        score_pair(
            pair.source,
            pair.converted,
            target_references=torch.tensor(voices[pair.target_speaker]),
            source_references=torch.tensor(voices[pair.source_speaker]),
            text=pair.text,
            parallel=pair.parallel,
            known=known,
        )
        for pair in pairs
    ]


def _voice(references: Sequence[Recording] | Tensor) -> Tensor:
    return references if isinstance(references, Tensor) else voice_embedding(references)
