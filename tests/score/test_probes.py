"""Probes on made-up vectors, of which it is known what can be read from them."""

from dataclasses import replace

import numpy as np
import pytest

from speechvq.errors import BadSetting
from speechvq.score.probes import ProbeSettings, probe, probe_table, probes, split_recordings
from speechvq.score.streams import Stream
from speechvq.store.alignments import Interval

RATE, FRAMES, PHONES = 50.0, 40, ("aa", "s", "t", "SIL")
VOICES = {"ann": "woman", "eve": "woman", "bob": "man"}


def stream(voice: str, number: int) -> Stream:
    """The phone is in four numbers of a frame, the voice in the fifth, and only before quantization."""
    phones = np.random.randint(0, len(PHONES), FRAMES // 4).repeat(4)
    shown = np.eye(4)[phones] + 0.1 * np.random.randn(FRAMES, 4)
    voices = np.full((FRAMES, 1), list(VOICES).index(voice)) + 0.1 * np.random.randn(FRAMES, 1)
    spoken = (Interval(PHONES[p], i / RATE, (i + 1) / RATE) for i, p in enumerate(phones))
    return Stream(
        f"{voice}/{number}", voice, phones[:, None], RATE, FRAMES / RATE, tuple(spoken),
        latents=np.hstack([shown, voices]), quantized=np.hstack([shown, np.random.randn(FRAMES, 1)]),
    )  # fmt: skip


@pytest.fixture
def streams() -> list[Stream]:
    return [stream(voice, number) for voice in VOICES for number in range(4)]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_probes_read_what_is_there_and_nothing_else(streams, kind):
    settings = ProbeSettings(iterations=400, hidden=16)
    scores = probes(streams, genders=VOICES, kinds=[kind], settings=settings)
    found = {(score.target, score.vectors): score for score in scores}
    assert len(found) == len(scores) == 6
    for vectors in ("latents", "quantized"):
        assert found["phone", vectors].accuracy > 0.9
        assert found["phone", vectors].by_recording is None
        assert found["phone", vectors].chance == 0.25
    for target in ("speaker", "gender"):
        before, after = found[target, "latents"], found[target, "quantized"]
        assert before.accuracy > 0.9
        assert before.by_recording == 1
        assert after.accuracy < after.majority + 0.25
        assert after.test_recordings == 3
    assert found["speaker", "latents"].majority == pytest.approx(1 / 3)
    assert probe_table(scores).row_count == 3


def test_no_recording_is_on_both_sides(streams):
    train, test = split_recordings([*streams, stream("ann", 9)], 0.5, seed=3)
    names = [s.name for s in train], [s.name for s in test]
    assert not set(names[0]) & set(names[1])
    assert len(train) + len(test) == 13
    assert {s.speaker for s in train} == {s.speaker for s in test} == set(VOICES)
    lone = replace(stream("ann", 0), name="tom/0", speaker="tom")
    train, test = split_recordings([*streams, lone], 0.99)
    assert lone in train
    assert len(train) == 4


def test_majority_is_of_the_speech_that_was_learnt_from(streams):
    train, test = split_recordings(streams)
    spoken = [p for s in train for p in s.phone_frames()]
    most = max(sorted(set(spoken), key=str), key=spoken.count)
    heard = [p for s in test for p in s.phone_frames()]
    score = probe(streams, "phone", "quantized")
    assert score.majority == pytest.approx(heard.count(most) / len(heard))
    assert (score.train_frames, score.test_frames) == (len(spoken), len(heard))
    assert probe(streams, "phone", settings=ProbeSettings(most_frames=50)).train_frames == 50


def test_what_cannot_be_probed_is_said(streams):
    with pytest.raises(BadSetting, match="phone, speaker, gender"):
        probe(streams, "age")
    with pytest.raises(BadSetting, match="two recordings"):
        probe(streams[:1], "phone")
    with pytest.raises(BadSetting, match="two classes"):
        probe(streams[:4], "speaker")
    with pytest.raises(BadSetting, match="two classes"):
        probe(streams, "gender", genders={"ann": "woman"})
    bare = [Stream(s.name, s.speaker, s.codes, RATE, s.seconds) for s in streams]
    with pytest.raises(BadSetting, match="vectors=True"):
        probe(bare, "speaker")
    with pytest.raises(BadSetting, match="between 0 and 1"):
        ProbeSettings(held_out=1)
    with pytest.raises(BadSetting, match="hidden"):
        ProbeSettings(hidden=0)
