"""Codes that are heard once: those of the codec, kept beside the manifest, and cut for training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq import Codec
from speechvq.errors import BadAudio, BadManifest
from speechvq.speech import coded
from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.data import SpeechDataSettings
from speechvq.store.manifest import Entry, write_manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Recordings of 0.3 to 0.9 s of both voices, one of a voice that the codec does not know."""
    entries = []
    for i, split in enumerate(["train", "train", "valid", "train", "test"]):
        write_audio(tmp_path / f"{i}.wav", 0.2 * torch.randn(1, 4800 + 2400 * i), 16_000)
        who = ("kal", "slt", "kal", "eve", "slt")[i]
        entries.append(Entry(str(tmp_path / f"{i}.wav"), 0.0, 0.3 + 0.15 * i, who, f"u{i}", split))
    write_manifest(tmp_path / "all.jsonl", entries)
    return tmp_path / "all.jsonl"


def hear(codec: Codec, manifest: Path, **more) -> dict[str, coded.HeardData]:
    return coded.hear(SpeechDataSettings(str(manifest), **more), codec, ("train", "valid"))


def test_they_are_the_codes_of_the_whole_recording(tiny_codec: Path, manifest: Path):
    codec = Codec.from_pretrained(tiny_codec)
    found = hear(codec, manifest, seconds=5.0, valid_seconds=5.0)
    assert (len(found["train"]), len(found["valid"])) == (2, 1)
    batch = found["train"].collate([found["train"][0, 0], found["train"][0, 1]])
    assert batch.condition["speaker"].tolist() == [1, 0]  # the codec's voices are slt and kal
    for row in range(2):
        codes = codec.encode(read_audio(manifest.parent / f"{row}.wav")[None]).indices
        count = codes.shape[2]
        assert torch.equal(batch.signal[row, :, :count], codes[0])
        assert (batch.signal[row, :, count:] == -1).all()
        assert batch.mask is not None
        assert batch.mask[row].sum() == count


def test_they_are_heard_once(tiny_codec: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch):
    codec = Codec.from_pretrained(tiny_codec)
    first = hear(codec, manifest)
    (kept,) = manifest.parent.glob("all.codes-*.npz")
    (manifest.parent / "0.wav").unlink()
    again = hear(codec, manifest)
    assert all(np.array_equal(a, b) for a, b in zip(first["train"].codes, again["train"].codes, strict=True))
    # Another codec hears anew, and then misses the recording.
    torch.nn.init.normal_(next(codec.encoder.parameters()))
    with pytest.raises(BadAudio, match=r"0\.wav"):
        hear(codec, manifest)
    assert len(hear(codec, manifest, skip_bad=True)["train"]) == 1
    assert kept.exists()


def test_long_recordings_are_encoded_in_blocks(
    tiny_codec: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
):
    codec = Codec.from_pretrained(tiny_codec)
    entry = Entry(str(manifest.parent / "4.wav"), 0.0, 0.9, "slt", "u4", "train")
    whole = coded._codes(codec, entry, skip=False)
    monkeypatch.setattr(coded, "BLOCK", 0.25)
    blocks = coded._codes(codec, entry, skip=False)
    assert blocks.shape == whole.shape
    assert (blocks == whole).mean() > 0.95  # rounding may decide between two codes that are equally near


def test_crops_are_a_function_of_seed_epoch_and_place(tiny_codec: Path, manifest: Path):
    codec = Codec.from_pretrained(tiny_codec)
    data = hear(codec, manifest, seconds=0.1, valid_seconds=0.1)
    train, valid = data["train"], data["valid"]
    assert train.length == 5
    crops = [train[epoch, 1].codes for epoch in range(30)]
    assert all(torch.equal(train[epoch, 1].codes, crop) for epoch, crop in enumerate(crops))
    whole = train.codes[1]
    places = {
        start
        for crop in crops
        for start in range(len(whole) - 4)
        if np.array_equal(whole[start : start + 5], crop.numpy())
    }
    assert len(places) > 5
    assert np.array_equal(valid[7, 0].codes.numpy(), valid.codes[0][:5])


def test_voices_that_are_not_there_are_a_sentence(tiny_codec: Path, manifest: Path):
    codec = Codec.from_pretrained(tiny_codec)
    assert len(hear(codec, manifest, speakers=("kal",))["train"]) == 1
    own = coded.hear(SpeechDataSettings(str(manifest)), codec, ("train",), voices=("kal", "slt"))["train"]
    assert own.speakers == [0, 1]  # the prior's order, not the codec's
    with pytest.raises(BadManifest, match="slt, kal"):
        hear(codec, manifest, speakers=("eve",))
