"""Published checkpoints of VQ-CPC: codes, contexts and the vocoder's logits are those of the structure."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechvq.bridge.vqcpc import ENCODER_NAMES, VOCODER_NAMES, import_vqcpc
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting

from .published import SMALL, Contrastive, Decoder, Encoder, Sizes, front_end, hashed, training_state, write

FULL = Sizes(channels=512)


def files(folder: Path, sizes: Sizes, memory: int) -> tuple[Contrastive, Decoder, Path, Path]:
    encoder, vocoder = hashed(Contrastive(sizes, memory)), hashed(Decoder(sizes, own=True))
    predictors = torch.nn.ModuleList(torch.nn.Linear(memory, sizes.dim) for _ in range(12))
    cpc = {"encoder": encoder.state_dict(), "cpc": predictors.state_dict(), **training_state(encoder)}
    first = write(folder / "cpc.pt", cpc)
    second = write(folder / "vocoder.pt", {"vocoder": vocoder.state_dict(), **training_state(vocoder)})
    return encoder, vocoder, first, second  # pyright: ignore


@pytest.mark.parametrize(("sizes", "memory"), [(SMALL, 11), (FULL, 256)])
def test_codes_contexts_and_logits_are_those_of_the_published_structure(
    tmp_path: Path, sizes: Sizes, memory: int
) -> None:
    encoder, vocoder, first, second = files(tmp_path, sizes, memory)
    import_vqcpc(first, vocoder=second).save_pretrained(tmp_path / "codec")
    codec = Codec.from_pretrained(tmp_path / "codec")
    wave = torch.randn(1, 1, 3200) * torch.linspace(-6, 0, 3200).exp()
    with torch.no_grad():
        z = encoder(front_end(wave[0, 0].numpy()))
        torch.testing.assert_close(codec.encoder(wave), z, atol=1e-4, rtol=1e-4)
        indices = encoder.codebook.indices(z)
        assert torch.equal(codec.encode(wave).indices[:, 0], indices)
        assert len(indices.unique()) > 3
        quantized = codec.quantizer.decode(indices[:, None])
        contexts = encoder.rnn(encoder.codebook.embedding[indices])[0]
        torch.testing.assert_close(codec.encoder.contexts(quantized), contexts.transpose(1, 2))
        speaker, levels = torch.tensor([2]), torch.randint(256, (1, 320 * indices.shape[1]))
        ours = codec.decoder.logits(levels, codec.decoder.hear(quantized, codec.decoder.voice(speaker)))
        own = vocoder.code_embedding(indices).transpose(1, 2)
        theirs = vocoder(levels, own, speaker).transpose(1, 2)
    assert (ours - theirs).abs().max() < 1e-5
    if sizes is FULL:
        count = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
        assert count == {"encoder": 1_580_096, "quantizer": 0, "decoder": 4_684_928}


def test_the_maps_of_names_are_whole() -> None:
    encoder, vocoder = Contrastive(SMALL).state_dict(), Decoder(SMALL, own=True).state_dict()
    assert set(ENCODER_NAMES) == {name for name in encoder if not name.startswith("rnn.")}
    assert set(VOCODER_NAMES) == set(vocoder)


def test_without_a_vocoder_it_gives_codes_and_is_mute(tmp_path: Path) -> None:
    encoder, _, first, _ = files(tmp_path, SMALL, 11)
    codec = import_vqcpc(first)
    codes = codec.encode(torch.randn(1, 1, 16000))
    assert codes.indices.shape == (1, 1, 50)
    with pytest.raises(BadSetting, match="cannot speak"):
        codec.decode(codes)
    state = encoder.state_dict()
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("rnn.")}
    codec = import_vqcpc(write(tmp_path / "bare.pt", {"encoder": bare}))
    assert codec.encoder.context is None


def test_it_speaks(tmp_path: Path) -> None:
    _, _, first, second = files(tmp_path, SMALL, 11)
    codec = import_vqcpc(first, vocoder=second, speakers=["e", "a", "b", "c", "d"])
    codes = codec.encode(torch.randn(1, 1, 960))
    assert codec.decode(codes, speaker="e", seed=1).shape == (1, 1, 960)


def test_files_that_are_no_pair_or_of_another_kind(tmp_path: Path) -> None:
    _, _, first, second = files(tmp_path, SMALL, 11)
    with pytest.raises(BadCheckpoint, match="no part 'encoder'"):
        import_vqcpc(second)
    with pytest.raises(BadCheckpoint, match="no part 'vocoder'"):
        import_vqcpc(first, vocoder=first)
    other = hashed(Decoder(replace(SMALL, codes=31), own=True)).state_dict()
    with pytest.raises(BadCheckpoint, match=r"speaks 31 codes, but .* has 32"):
        import_vqcpc(first, vocoder=write(tmp_path / "other.pt", {"vocoder": other}))
    vae = write(tmp_path / "vae.pt", {"encoder": hashed(Encoder(SMALL)).state_dict()})
    with pytest.raises(BadCheckpoint, match="perhaps one of their VQ-VAE"):
        import_vqcpc(vae)
