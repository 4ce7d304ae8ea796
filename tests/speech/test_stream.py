"""Whole recordings and recordings in pieces give the same codes and the same sound."""

import pytest
import torch

from speechvq.codec import Codec, Codes
from speechvq.speech.stream import decode_stream, encode_stream

ENCODERS = [
    {"name": "mel", "channels": 32, "dim": 16},
    {"name": "mel", "channels": 32, "dim": 16, "dilations": [1, 2], "frame_rate": 25},
    {"name": "mel", "channels": 32, "dim": 16, "dilations": [1, 2], "frame_rate": 100},
    {"name": "mel", "layout": "chorowski", "features": "mfcc", "channels": 32, "dim": 16},
    {"name": "mel", "layout": "bshall", "channels": 32, "dim": 16},
    {"name": "strided", "channels": 16, "dilations": [1, 3], "dim": 16},
]
MELS, STRIDED = ENCODERS[:3], ENCODERS[-1]


def _codec(encoder):
    hop = 64 if encoder["name"] == "strided" else 320
    decoder = (
        {"name": "wavenet", "speakers": ["a", "b"], "stack": "tiny"}
        if hop == 64
        else {"name": "spectral", "speakers": ["a", "b"], "size": "tiny"}
    )
    return Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": encoder,
            "quantizer": {"name": "vector", "codebook_size": 32, "start": {"by": "normal"}},
            "decoder": decoder,
        }
    ).eval()


@pytest.mark.parametrize(
    "encoder", ENCODERS, ids=lambda e: f"{e.get('layout', e['name'])}{e.get('frame_rate', '')}"
)
@pytest.mark.parametrize("piece", [777, 16000, 100_000])
def test_pieces_have_the_vectors_of_the_whole(encoder, piece):
    torch.manual_seed(0)
    codec = _codec(encoder)
    wave = torch.randn(1, 1, 16000 * 3 + 777) * 0.1
    whole = codec.encode(wave).indices
    made = torch.cat(list(encode_stream(codec, list(wave.split(piece, 2)))), 2)
    assert made.shape == whole.shape
    # Rounding may tip a vector that lies between two codes.
    assert (made == whole).float().mean() > 0.99


@pytest.mark.parametrize("encoder", MELS, ids=lambda e: str(e.get("frame_rate", 50)))
@pytest.mark.parametrize("piece", [1, 13, 200])
def test_spectral_pieces_sound_like_the_whole(encoder, piece):
    torch.manual_seed(0)
    codec = _codec(encoder)
    torch.nn.init.normal_(codec.decoder.heads.weight, std=0.1)
    indices = torch.randint(32, (1, 1, 90))
    whole = codec.decode(Codes(indices), speaker="b", seed=2)
    made = torch.cat(list(decode_stream(codec, indices.split(piece, 2), speaker="b", seed=2)), 2)
    assert whole.abs().max() > 1e-3
    # A rounding of the pitch is a hundred times larger in the phase of the highest harmonic.
    assert (made - whole).abs().max() < 5e-3 * whole.abs().max()


def test_wavenet_pieces_sound_like_the_whole():
    torch.manual_seed(0)
    codec = _codec(STRIDED)
    indices = torch.randint(32, (1, 1, 8))
    whole = codec.decode(Codes(indices), speaker="a", seed=1)
    made = torch.cat(list(decode_stream(codec, indices.split(3, 2), speaker="a", seed=1)), 2)
    assert torch.equal(made, whole)
