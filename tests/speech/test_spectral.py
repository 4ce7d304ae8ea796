"""The spectral decoder: what it learns, from whom it speaks, and that bad choices are sentences."""

import pytest
import torch

from speechvq.codec import Batch
from speechvq.errors import BadSetting, UnknownSpeaker
from speechvq.speech.spectral import SpectralDecoder, SpectralLoss


def _batch(items=3, codes=20):
    wave = torch.randn(items, 1, codes * 320) * 0.1
    pitch = torch.full((items, codes * 2), 120.0)
    pitch[:, ::3] = 0.0
    return Batch(wave, None, {"speaker": torch.arange(items) % 2, "pitch": pitch})


def _decoder(learn="frames", **settings):
    return SpectralDecoder(("a", "b"), dim=16, size="tiny", loss=SpectralLoss(learn=learn), **settings)


def test_frames_and_waveform_name_their_losses():
    torch.manual_seed(0)
    vectors = torch.randn(3, 16, 20)
    frames = _decoder().reconstruct(vectors, _batch())
    assert set(frames.losses) == {"frames/mel", "pitch/f0", "pitch/voicing"}
    assert frames.signal is None
    sound = _decoder("waveform").reconstruct(vectors, _batch())
    assert set(sound.losses) == {*frames.losses, "sound/stft", "sound/mel"}
    assert sound.signal.shape == (3, 1, 6400)


def test_every_weight_learns_from_the_waveform():
    torch.manual_seed(0)
    decoder = _decoder("waveform")
    batch = _batch()
    batch.condition["embedding"] = torch.randn(3, 256)
    losses = decoder.reconstruct(torch.randn(3, 16, 20), batch).losses
    sum(losses.values()).backward()
    idle = [name for name, p in decoder.named_parameters() if p.grad is None]
    assert idle == []


def test_it_learns_one_sound():
    torch.manual_seed(0)
    decoder = _decoder(jitter=0.0)
    vectors, batch = torch.randn(2, 16, 20), _batch(2)
    optimiser = torch.optim.Adam(decoder.parameters(), 3e-3)
    seen = []
    for _ in range(60):
        loss = decoder.reconstruct(vectors, batch).losses["frames/mel"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.35 * seen[0]


def test_padding_counts_for_nothing():
    torch.manual_seed(0)
    decoder = _decoder("waveform").eval()
    batch = _batch(1)
    inner = {k: v.clone() for k, v in batch.condition.items()}
    long = torch.nn.functional.pad(batch.signal, (0, 3200))
    mask = torch.arange(long.shape[2])[None] < batch.signal.shape[2]
    inner["pitch"] = torch.nn.functional.pad(inner["pitch"], (0, 20), value=200.0)
    vectors = torch.nn.functional.pad(torch.randn(1, 16, 20), (0, 10))
    torch.manual_seed(1)
    first = decoder.reconstruct(vectors, Batch(long, mask, inner)).losses
    loud = long.masked_fill(~mask[:, None], 0.7)
    loud[..., 6400 : 6400 + 800] = 0.0  # the analysis window of the last valid frames sees a little beyond
    torch.manual_seed(1)
    second = decoder.reconstruct(vectors, Batch(loud, mask, inner)).losses
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


def test_a_voice_is_a_name_a_row_or_an_embedding():
    torch.manual_seed(0)
    decoder = _decoder().eval()
    torch.nn.init.normal_(decoder.heads.weight, std=0.1)
    vectors = torch.randn(2, 16, 10)
    named = decoder.generate(vectors, speaker="b")
    assert named.shape == (2, 1, 3200)
    assert torch.equal(named, decoder.generate(vectors, speaker=torch.tensor([1, 1])))
    assert not torch.equal(named, decoder.generate(vectors, speaker="a"))
    assert decoder.generate(vectors, speaker=torch.randn(1, 256)).shape == named.shape
    with pytest.raises(UnknownSpeaker, match="no voice called 'c'; it knows a, b"):
        decoder.generate(vectors, speaker="c")
    with pytest.raises(BadSetting, match="which voice"):
        decoder.generate(vectors)


def test_generated_padding_is_silent():
    decoder = _decoder().eval()
    mask = torch.arange(10)[None] < 6
    assert decoder.generate(torch.randn(1, 16, 10), mask, speaker="a")[..., 6 * 320 :].abs().max() == 0


def test_bad_choices_are_refused():
    with pytest.raises(BadSetting, match="known: tiny"):
        _ = SpectralDecoder(("a",), size="huge")
    with pytest.raises(BadSetting, match="multiple"):
        _ = SpectralDecoder(("a",), hop=300)
    with pytest.raises(BadSetting, match="'frames' or 'waveform'"):
        _ = SpectralLoss(learn="both")


def test_without_channels_for_the_voice_all_voices_sound_the_same():
    torch.manual_seed(0)
    decoder, told = _decoder(voice_channels=0), _decoder(voice_channels=8)
    assert not any("film" in name for name in decoder.state_dict())
    batch = _batch()
    batch.condition["embedding"] = torch.randn(3, 256)
    losses = decoder.reconstruct(torch.randn(3, 16, 20), batch).losses
    assert set(losses) == {"frames/mel", "pitch/f0", "pitch/voicing"}
    sum(losses.values()).backward()
    assert decoder.enter.weight.grad.isfinite().all()
    for one in (decoder, told):
        torch.nn.init.normal_(one.heads.weight, std=0.1)
    vectors = torch.randn(1, 16, 20)
    made = [decoder.generate(vectors, speaker=who) for who in ("a", "b", torch.randn(1, 256))]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert not torch.equal(told.generate(vectors, speaker="a"), told.generate(vectors, speaker="b"))
    with pytest.raises(UnknownSpeaker):
        decoder.generate(vectors, speaker="zoe")
