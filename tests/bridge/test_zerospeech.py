"""Published checkpoints of the VQ-VAE: in, equal to their structure, out again bit for bit; damaged ones."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from speechvq.bridge.zerospeech import DECODER_NAMES, ENCODER_NAMES, export_zerospeech, import_zerospeech
from speechvq.codec import Batch, Codec
from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.nets.sampling import Sampling

from .published import SMALL, Contrastive, Decoder, Encoder, Sizes, front_end, hashed, training_state, write


def models(sizes: Sizes = SMALL) -> tuple[Encoder, Decoder]:
    return hashed(Encoder(sizes)), hashed(Decoder(sizes))  # pyright: ignore


def parts(encoder: torch.nn.Module, decoder: torch.nn.Module) -> dict[str, Any]:
    return {"encoder": encoder.state_dict(), "decoder": decoder.state_dict(), **training_state(decoder)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "model.ckpt-500000.pt", parts(*models()))


def speech(samples: int) -> torch.Tensor:
    return torch.randn(1, 1, samples) * torch.linspace(-6, 0, samples).exp() * 0.3


@pytest.mark.parametrize(
    ("sizes", "legacy", "samples"), [(SMALL, True, 9000), (SMALL, False, 16000), (Sizes(), True, 3200)]
)
def test_codes_and_logits_are_those_of_the_published_structure(
    tmp_path: Path, sizes: Sizes, legacy: bool, samples: int
) -> None:
    encoder, decoder = models(sizes)
    codec = import_zerospeech(write(tmp_path / "m.pt", parts(encoder, decoder), legacy=legacy))
    wave = speech(samples)
    with torch.no_grad():
        mel = front_end(wave[0, 0].numpy())
        vectors = encoder(mel)
        torch.testing.assert_close(codec.encoder(wave), vectors, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(codec.encoder.project(_layers(codec, mel)), vectors, atol=1e-5, rtol=1e-5)
        indices = encoder.codebook.indices(vectors)
        assert torch.equal(codec.encode(wave).indices[:, 0], indices)
        assert len(indices.unique()) > 5
        quantized = encoder.codebook.embedding[indices].transpose(1, 2)
        assert torch.equal(codec.quantizer.decode(indices[:, None]), quantized)
        speaker = torch.tensor([3])
        levels = torch.randint(256, (1, 320 * indices.shape[1]))
        ours = codec.decoder.logits(levels, codec.decoder.hear(quantized, codec.decoder.voice(speaker)))
        theirs = decoder(levels, quantized, speaker).transpose(1, 2)
    assert (ours - theirs).abs().max() < 1e-5
    assert theirs.std() > 0.01


def _layers(codec: Codec, x: torch.Tensor) -> torch.Tensor:
    for conv, norm in zip(codec.encoder.convs, codec.encoder.norms, strict=True):
        x = norm(conv(x)).relu()
    return x


@pytest.mark.parametrize(("speakers", "total"), [(102, 12_561_088), (113, 12_561_792)])
def test_the_published_sizes(tmp_path: Path, speakers: int, total: int) -> None:
    sizes = Sizes(speakers=speakers)
    path = write(tmp_path / "m.pt", {n: m.state_dict() for n, m in _bare(sizes).items()})
    codec = import_zerospeech(path)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
    assert count == {"encoder": 7_908_928, "quantizer": 0, "decoder": total - 7_908_928}
    assert codec.encode(torch.rand(1, 1, 16000) - 0.5).indices.shape == (1, 1, 49)
    assert (codec.frame_rate, codec.decoder.hop * 49) == (50.0, 15_680)
    assert codec.encoder.spec == {"name": "zerospeech", "dim": 64, "channels": 768, "peak": 0.999}
    learning = codec.quantizer.spec["learning"]
    assert (learning["decay"], learning["commitment"]) == (0.999, 0.25)
    assert codec.decoder.jitter.probability == 0.5
    assert codec.decoder.speakers[:: speakers - 1] == ("000", f"{speakers - 1:03d}")


def _bare(sizes: Sizes) -> dict[str, torch.nn.Module]:
    with torch.device("meta"):
        made: dict[str, torch.nn.Module] = {"encoder": Encoder(sizes), "decoder": Decoder(sizes)}
    return {name: part.to_empty(device="cpu").apply(_zeros) for name, part in made.items()}


def _zeros(module: torch.nn.Module) -> None:
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        tensor.detach().fill_(0.25)


def test_it_is_saved_and_exported_bit_for_bit(tmp_path: Path, checkpoint: Path) -> None:
    import_zerospeech(checkpoint).save_pretrained(tmp_path / "codec")
    codec = Codec.from_pretrained(tmp_path / "codec")
    export_zerospeech(codec, tmp_path / "again.pt", step=500_000)
    before, after = (torch.load(p, weights_only=True) for p in (checkpoint, tmp_path / "again.pt"))
    assert after["step"] == 500_000
    for part in ("encoder", "decoder"):
        assert after[part].keys() == before[part].keys()
        for name, tensor in before[part].items():
            assert after[part][name].dtype == tensor.dtype
            assert torch.equal(after[part][name], tensor), name
    encoder, decoder = Encoder(SMALL), Decoder(SMALL)
    encoder.load_state_dict(after["encoder"])  # strict, as the published code does
    decoder.load_state_dict(after["decoder"])
    with pytest.raises(WouldOverwrite):
        export_zerospeech(codec, checkpoint)


def test_the_map_of_names_is_one_to_one() -> None:
    encoder, decoder = Encoder(SMALL).state_dict(), Decoder(SMALL).state_dict()
    assert set(ENCODER_NAMES) == set(encoder) - {"jitter.prob"}
    assert set(DECODER_NAMES) == set(decoder)
    ours = [*ENCODER_NAMES.values(), *DECODER_NAMES.values()]
    assert len(set(ours)) == len(ours)


def test_it_speaks_in_a_voice_by_name_and_learns_on(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "speakers.json").write_text(json.dumps(["V002", "S015", "V001", "S020", "S002"]))
    codec = import_zerospeech(checkpoint, speakers=tmp_path / "speakers.json")
    assert codec.decoder.speakers == ("S002", "S015", "S020", "V001", "V002")
    wave = speech(1280)
    codes = codec.encode(wave)
    made = codec.decode(codes, speaker="V001", sampling=Sampling(seed=1))
    assert made.shape == (1, 1, 320 * codes.indices.shape[2])
    assert torch.equal(made, codec.decode(codes, speaker=torch.tensor([3]), seed=1))
    codec.train()
    output = codec(Batch(wave, None, {"speaker": torch.tensor([2])}))
    output.loss.backward()
    assert codec.encoder.convs[0].weight.grad.abs().sum() > 0


def test_voices_written_for_the_published_code_are_in_its_order(tmp_path: Path, checkpoint: Path) -> None:
    codec = import_zerospeech(checkpoint, speakers=["b", "a", "e", "d", "c"])
    export_zerospeech(codec, tmp_path / "a.pt", speakers=tmp_path / "speakers.json")
    assert json.loads((tmp_path / "speakers.json").read_text()) == ["a", "b", "c", "d", "e"]
    with pytest.raises(WouldOverwrite, match="speakers.json"):
        export_zerospeech(codec, tmp_path / "b.pt", speakers=tmp_path / "speakers.json")
    codec.decoder.speakers = ("b", "a", "c", "d", "e")
    with pytest.raises(BadSetting, match="order of the alphabet"):
        export_zerospeech(codec, tmp_path / "b.pt", speakers=tmp_path / "other.json")
    assert not (tmp_path / "b.pt").exists()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a", "b", "c"], r"3 different names, the checkpoint 5 voices"),
        (["a", "b", "c", "c", "d"], r"4 different names"),
        ({"a": 1}, r"list of names"),
        ([1, 2, 3, 4, 5], r"list of names"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, checkpoint: Path, names: Any, sentence: str) -> None:
    (tmp_path / "s.json").write_text(json.dumps(names))
    with pytest.raises(BadCheckpoint, match=sentence):
        import_zerospeech(checkpoint, speakers=tmp_path / "s.json")
    (tmp_path / "s.json").write_text("[")
    with pytest.raises(BadCheckpoint, match="not JSON"):
        import_zerospeech(checkpoint, speakers=tmp_path / "s.json")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [True, False])
def test_truncated_files(tmp_path: Path, share: float, legacy: bool) -> None:
    whole = write(tmp_path / "m.pt", parts(*models()), legacy=legacy).read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadCheckpoint, match="truncated or is not a torch checkpoint"):
        import_zerospeech(tmp_path / "m.pt")


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_that_would_run_code_is_not_opened(workdir: Path, legacy: bool) -> None:
    write(workdir / "m.pt", parts(*models()) | {"amp": _Trap()}, legacy=legacy)
    with pytest.raises(BadCheckpoint, match=r"could run code"):
        import_zerospeech(workdir / "m.pt")
    assert not (workdir / "sprung").exists()


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with pytest.raises(BadCheckpoint, match="not there"):
        import_zerospeech(path)
    with pytest.raises(BadCheckpoint, match="a folder"):
        import_zerospeech(tmp_path)
    path.write_bytes(b"RIFF" + bytes(400))
    with pytest.raises(BadCheckpoint, match="not a torch checkpoint"):
        import_zerospeech(path)
    encoder, decoder = (model.state_dict() for model in models())
    cpc = hashed(Contrastive(SMALL)).state_dict()
    wrong = {
        r"holds a Tensor, not": torch.zeros(3),
        r"no part 'encoder', only model": {"model": encoder},
        r"no part 'decoder', only encoder": {"encoder": encoder},
        r"'x' of its encoder is no tensor": {"encoder": {"x": 1}, "decoder": decoder},
        r"perhaps one of VQ-CPC": {"encoder": cpc, "cpc": {}},
        r"has no 'fc2.bias'": {"encoder": encoder, "decoder": _without(decoder, "fc2.bias")},
        r"has no 'rnn1.weight_ih_l0' \(and 1 more\)": {
            "encoder": encoder,
            "decoder": _without(decoder, "rnn1.weight_ih_l0", "fc1.bias"),
        },
        r"has 'more', which should not": {"encoder": encoder | {"more": torch.ones(1)}, "decoder": decoder},
        r"'fc1.weight' has the shape \(9, 15\) where \(9, 16\)": {
            "encoder": encoder,
            "decoder": decoder | {"fc1.weight": torch.zeros(9, 15)},
        },
        r"'mu_embedding.weight' has the shape \(256,\); it should have 2": {
            "encoder": encoder,
            "decoder": decoder | {"mu_embedding.weight": torch.zeros(256)},
        },
        r"'codebook.ema_count' has the shape \(31,\)": {
            "encoder": encoder | {"codebook.ema_count": torch.ones(31)},
            "decoder": decoder,
        },
        r"'fc1.bias' of its decoder holds NaN": {
            "encoder": encoder,
            "decoder": decoder | {"fc1.bias": torch.full((9,), torch.nan)},
        },
    }
    for sentence, content in wrong.items():
        torch.save(content, path)
        with pytest.raises(BadCheckpoint, match=sentence) as caught:
            import_zerospeech(path)
        assert str(path) in str(caught.value)


def _without(tensors: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_codes_that_are_not_their_averages_are_told(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        import_zerospeech(checkpoint)
        assert not caplog.records
        content = torch.load(checkpoint, weights_only=True)
        content["encoder"]["codebook.ema_weight"].mul_(2)
        import_zerospeech(write(tmp_path / "odd.pt", content))
    assert "moving averages" in caplog.text


def test_a_codec_of_other_parts_is_not_exported(tmp_path: Path, tiny_codec: Path) -> None:
    with pytest.raises(BadSetting, match="an encoder 'zerospeech'"):
        export_zerospeech(Codec.from_pretrained(tiny_codec), tmp_path / "m.pt")
