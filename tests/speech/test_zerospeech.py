"""The ZeroSpeech front end against librosa, the encoders' lengths and sizes, padding, pieces."""

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from speechvq.codec import ENCODERS, Codec
from speechvq.errors import BadSetting
from speechvq.speech.decibels import DecibelMel
from speechvq.speech.stream import encode_stream
from speechvq.speech.zerospeech import VQCPCEncoder, ZeroSpeechEncoder

PLAIN = {
    "zerospeech": {"name": "zerospeech", "dim": 8, "channels": 16},
    "vqcpc": {"name": "vqcpc", "dim": 8, "channels": 16, "context": 12},
}


def speech(samples: int, rows: int = 1) -> Tensor:
    """Noise whose loudness moves over more than 80 dB."""
    slope = torch.linspace(-9, 2, samples).exp()
    return torch.randn(rows, 1, samples) * slope * 0.01


def published(wave: np.ndarray) -> np.ndarray:
    """The front end with scipy and librosa, as its authors wrote that it is done."""
    wave = wave / np.abs(wave).max() * 0.999
    emphasised = scipy.signal.lfilter([1, -0.97], [1], wave)
    mel = librosa.feature.melspectrogram(
        y=emphasised, sr=16000, n_mels=80, n_fft=2048, hop_length=160, win_length=400,
        fmin=50, power=1, pad_mode="reflect",
    )  # fmt: skip
    return librosa.amplitude_to_db(mel, top_db=80) / 80 + 1


def sizes(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("samples", [2048, 16000, 16159, 31234])
def test_the_frames_are_librosas(samples: int):
    wave = speech(samples)
    made = DecibelMel()(wave)
    theirs = published(wave[0, 0].double().numpy())
    assert made.shape == (1, 80, 1 + samples // 160)
    np.testing.assert_allclose(made[0], theirs, atol=2e-4)
    assert made.amax() - made.amin() == pytest.approx(1, abs=1e-5)  # the floor was reached


def test_frames_of_a_recording_of_any_level_are_the_same_unless_told_otherwise():
    wave = speech(8000)
    torch.testing.assert_close(DecibelMel()(wave * 0.1), DecibelMel()(wave), atol=1e-5, rtol=0)
    as_it_is, loud = DecibelMel(peak=None), torch.randn(1, 1, 8000)
    quieter = as_it_is(loud) - as_it_is(loud * 0.1)
    assert (quieter - 0.25).abs().max() < 1e-5  # 20 dB of 80
    with pytest.raises(BadSetting, match="peak"):
        DecibelMel(peak=2.0)


@pytest.mark.parametrize("samples", [0.0, 0.3])
def test_silence_and_a_constant_are_finite(samples: float):
    made = DecibelMel()(torch.full((1, 1, 4000), samples))
    assert made.isfinite().all()


@pytest.mark.parametrize(
    ("frames", "codes"), [(34, 16), (35, 16), (36, 17), (101, 49), (102, 50), (500, 249)]
)
def test_codes_of_the_published_encoder(frames: int, codes: int):
    encoder = ZeroSpeechEncoder(8, channels=8).eval()
    samples = (frames - 1) * 160
    assert encoder.grid((samples,)) == (codes,)
    assert encoder(speech(samples)).shape == (1, 8, codes)


def test_sizes_are_the_published_ones():
    assert sizes(ZeroSpeechEncoder()) == 7_908_928
    assert sizes(VQCPCEncoder()) == 1_580_096


@pytest.mark.parametrize("name", PLAIN)
def test_shortest_recordings(name: str):
    encoder = ENCODERS.build(PLAIN[name]).eval()
    least = {"zerospeech": 480, "vqcpc": 201}[name]
    assert encoder.grid((least,)) == (1,)
    assert encoder(speech(least)).shape == (1, 8, 1)
    with pytest.raises(BadSetting, match=f"needs {least}"):
        encoder(speech(least - 1))


@pytest.mark.parametrize("name", PLAIN)
def test_a_code_sees_no_further_than_it_says(name: str):
    encoder = ENCODERS.build(PLAIN[name] | {"peak": None}).eval()
    wave = torch.randn(1, 1, 32000)
    changed = wave.clone()
    changed[..., 16_000] += 0.01
    level = encoder.features.level(wave)
    differs = (encoder(wave, level=level) != encoder(changed, level=level)).any(1)[0].nonzero()
    assert int(differs[-1] - differs[0]) * 320 <= encoder.receptive_field
    centre = encoder.lead + 320 * differs.float().mean() + 160
    assert abs(centre - 16_000) <= 320


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_a_padded_recording_has_the_vectors_that_it_has_alone(name: str, training: bool):
    encoder = ENCODERS.build(PLAIN[name])
    for _ in range(3):  # running statistics away from zero and one
        encoder(speech(8000))
    encoder.eval()
    lengths = (8000, 5123, 4480, 600)
    mask = torch.arange(8000) < torch.tensor(lengths)[:, None]
    waves = torch.where(mask[:, None], speech(8000, 4), torch.rand(4, 1, 8000))
    if training:  # batch statistics come from all rows, so a lone row is compared with its copies
        encoder.train()
        waves, mask = waves[1:2].expand(3, -1, -1), mask[1:2].expand(3, -1)
        lengths = lengths[1:2] * 3
    together, places = encoder(waves, mask), encoder.code_mask(mask)
    for row, samples in enumerate(lengths):
        alone = encoder(waves[row : row + 1, :, :samples])[0]
        assert places[row].sum() == alone.shape[1]
        torch.testing.assert_close(together[row, :, : alone.shape[1]], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("piece", [777, 16000])
def test_pieces_have_the_codes_of_the_whole(name: str, piece: int):
    codec = Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": PLAIN[name],
            "quantizer": {"name": "vector", "codebook_size": 32, "start": {"by": "normal"}},
            "decoder": {"name": "mute"},
        }
    ).eval()
    wave = speech(16000 * 2 + 777)
    whole = codec.encode(wave).indices
    made = torch.cat(list(encode_stream(codec, list(wave.split(piece, 2)))), 2)
    assert made.shape == whole.shape
    # Rounding may tip a vector that lies between two codes.
    assert (made == whole).float().mean() > 0.99


def test_contexts_see_the_past_only():
    encoder = VQCPCEncoder(8, channels=16, context=12).eval()
    vectors = torch.randn(2, 8, 20)
    changed = vectors.clone()
    changed[:, :, 11] += 1
    with torch.no_grad():
        moved = (encoder.contexts(vectors) != encoder.contexts(changed)).any(1)
    assert encoder.contexts(vectors).shape == (2, 12, 20)
    assert not moved[:, :11].any()
    assert moved[:, 11:].all()
    with pytest.raises(BadSetting, match="no context network"):
        VQCPCEncoder(8, channels=16, context=0).contexts(vectors)


def test_a_codec_without_a_decoder_says_so():
    decoder = Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": PLAIN["vqcpc"],
            "quantizer": {"name": "vector", "codebook_size": 32},
            "decoder": {"name": "mute"},
        }
    ).decoder
    assert (decoder.dim, decoder.hop, decoder.speakers) == (8, 320, ())
    with pytest.raises(BadSetting, match="cannot speak"):
        decoder.generate(torch.zeros(1, 8, 2))
