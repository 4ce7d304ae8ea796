"""The hall: what a codec made of an encoder, a quantizer and a decoder does, whatever these are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechvq import Batch, Codec, Codes
from speechvq.codec import Encoder
from speechvq.errors import BadCheckpoint, BadSetting, UnknownName, UnknownSpeaker
from speechvq.store.weights import load_weights


def config(**changes: Any) -> dict[str, Any]:
    """A codec of a few thousand weights."""
    return {
        "room": "speech",
        "rate": 16000,
        "encoder": {"name": "mel", "dim": 8, "channels": 8, "dilations": [1]},
        "quantizer": {"name": "vector", "codebook_size": 16},
        "decoder": {"name": "spectral", "size": "tiny", "speakers": ["slt", "kal"]},
    } | changes


def made(seed: int = 0, **changes: Any) -> Codec:
    torch.manual_seed(seed)
    return Codec.build(config(**changes))


def sound(batch: int = 2, length: int = 6400) -> Tensor:
    return 0.3 * torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(1))


def test_encode_and_decode_shapes() -> None:
    codec = made().eval()
    codes = codec.encode(sound())
    assert codes.indices.shape == (2, 1, 20)
    assert codes.mask is None
    assert codec.frame_rate == 50
    assert codec.decode(codes, speaker="slt").shape == (2, 1, 6400)
    with pytest.raises(UnknownSpeaker, match="slt, kal"):
        codec.decode(codes, speaker="nobody")


def test_encode_and_decode_leave_the_modes_as_they_were() -> None:
    codec = made().train()
    codec.encoder.eval()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    codec.decode(codec.encode(sound()), speaker="slt")
    assert codec.training
    assert codec.decoder.training
    assert not codec.encoder.training
    after = codec.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "encoding must not train"


def test_a_padded_recording_has_the_codes_it_has_alone() -> None:
    codec = made().eval()
    wave = sound()
    mask = torch.ones(2, 6400, dtype=torch.bool)
    mask[1, 3500:] = False
    wave[1, :, 3500:] = 0
    codes = codec.encode(wave, mask)
    alone = codec.encode(wave[1:, :, :3500]).indices
    assert codes.mask is not None
    assert codes.mask.sum(1).tolist() == [20, alone.shape[2]]
    assert (codes.indices[1, :, alone.shape[2] :] == -1).all()
    assert (codes.indices[0] >= 0).all()
    decoded = codec.decode(codes, speaker="slt")
    assert (decoded[1, :, alone.shape[2] * 320 :] == 0).all()


class Patches(Encoder):
    """Pictures to one vector a patch; incomplete patches are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.hop, self.receptive_field = 3, 4, 4
        self.conv = nn.Conv2d(1, 3, 4, stride=4)

    def forward(self, signal: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.conv(signal)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return (size[0] // 4, size[1] // 4)


def test_code_mask_of_pictures() -> None:
    mask = torch.zeros(3, 13, 8, dtype=torch.bool)
    mask[0] = True
    mask[1, :9, :5] = True
    codes = Patches().code_mask(mask)
    assert codes.shape == (3, 3, 2)
    assert codes[0].all()
    assert codes[1].tolist() == [[True, False], [True, False], [False, False]]
    assert not codes[2].any()


def test_forward_names_every_loss_and_gives_every_part_a_gradient() -> None:
    codec = made(quantizer={"name": "vector", "codebook_size": 16, "learning": {"by": "gradient"}}).train()
    codec.eval()
    codec.train()
    batch = Batch(sound(), condition={"speaker": torch.tensor([0, 1])})
    output = codec(batch)
    assert {"vq/commitment", "vq/codebook", "frames/mel"} <= set(output.losses)
    assert torch.isclose(output.loss, sum(output.losses.values()))
    output.loss.backward()
    for part in (codec.encoder, codec.quantizer, codec.decoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_batch_moves() -> None:
    batch = Batch(sound(), torch.ones(2, 6400, dtype=torch.bool), {"speaker": torch.tensor([0, 1])})
    moved = batch.to("meta")
    assert moved.mask is not None
    assert {moved.signal.device.type, moved.mask.device.type, moved.condition["speaker"].device.type} == {
        "meta"
    }
    assert Batch(sound()).to("cpu").mask is None


def test_save_and_load(tmp_path: Path) -> None:
    codec = made().eval()
    codec.save_pretrained(tmp_path / "c", card="# The card\n")
    loaded = Codec.from_pretrained(str(tmp_path / "c"))
    assert not loaded.training
    assert loaded.config == codec.config
    assert loaded.fingerprint == codec.fingerprint
    codes = codec.encode(sound())
    assert torch.equal(loaded.encode(sound()).indices, codes.indices)
    assert torch.equal(loaded.decode(codes, speaker="kal"), codec.decode(codes, speaker="kal"))
    assert (tmp_path / "c" / "README.md").read_text() == "# The card\n"


def test_half_is_half_the_bytes_and_loads_as_float32(tmp_path: Path) -> None:
    codec = made()
    codec.save_pretrained(tmp_path / "whole")
    codec.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = Codec.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded.fingerprint == Codec.from_pretrained(tmp_path / "half").fingerprint


def test_fingerprint_is_of_what_decides_the_codes() -> None:
    codec = made()
    assert codec.fingerprint != made(seed=1).fingerprint
    before = codec.fingerprint
    with torch.no_grad():
        next(codec.decoder.parameters()).add_(1)
    assert codec.fingerprint == before
    with torch.no_grad():
        next(codec.encoder.parameters()).add_(1)
    assert codec.fingerprint != before


def test_codebooks_of_a_residual_stack() -> None:
    codec = made(quantizer={"name": "residual", "codebook_size": 8, "num_codebooks": 3}).eval()
    codes = codec.encode(sound(1))
    assert codes.indices.shape == (1, 3, 20)
    coarse = codec.decode(Codes(codes.indices[:, :1]), speaker="slt")
    assert coarse.shape == (1, 1, 6400)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"room": "cellar"}, UnknownName, "known: speech"),
        ({"encoder": {"name": "ear"}}, UnknownName, "mel"),
        ({"encoder": {}}, BadSetting, "has no name"),
        ({"encoder": {"name": "mel", "ears": 2}}, UnknownName, "ears"),
        ({"quantizer": {"name": "vector", "dim": 9, "codebook_size": 16}}, BadSetting, r"\(8, 9, 8\)"),
        ({"decoder": {"name": "spectral", "speakers": ["a"], "hop": 160}}, BadSetting, "hop"),
    ],
)
def test_bad_settings_are_sentences(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        made(**changes)


def test_missing_settings_are_named() -> None:
    with pytest.raises(BadSetting, match="no decoder, room"):
        Codec.build({k: v for k, v in config().items() if k not in ("room", "decoder")})


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="not a model folder"):
        Codec.from_pretrained(tmp_path / "nowhere")
    made().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    right = json.loads(path.read_text())
    for changes in ({"rate": "fast"}, {"encoder": 7}, {"encoder": {"name": "mel", "dim": -3}}):
        path.write_text(json.dumps(right | changes))
        with pytest.raises((BadCheckpoint, BadSetting)):
            Codec.from_pretrained(tmp_path)
    path.write_text(json.dumps(right | {"encoder": right["encoder"] | {"channels": 9}}))
    with pytest.raises(BadCheckpoint, match="does not hold the weights"):
        Codec.from_pretrained(tmp_path)
    path.write_text(json.dumps(right))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="is not there"):
        Codec.from_pretrained(tmp_path)


def test_weights_are_saved_whole(tmp_path: Path) -> None:
    codec = made()
    codec.save_pretrained(tmp_path)
    assert set(load_weights(tmp_path / "model.safetensors")) == set(codec.state_dict())
    assert len(list(tmp_path.iterdir())) == 3, "no temporary file stays"
