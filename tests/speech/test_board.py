"""What is shown of a codec: pairs in sound and picture, codes, and the first recording in every voice."""

import pytest
import torch

from speechvq.codec import Batch, Codec
from speechvq.speech.board import media


def codec(decoder: dict) -> Codec:
    return Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": {"name": "mel", "dim": 8, "channels": 8, "dilations": [1]},
            "quantizer": {"name": "vector", "codebook_size": 16},
            "decoder": {"speakers": ["ann", "bob", "cid"], **decoder},
        }
    )


SPECTRAL, WAVENET = {"name": "spectral", "size": "tiny"}, {"name": "wavenet", "stack": "tiny"}


@pytest.mark.parametrize("decoder", [SPECTRAL, WAVENET])
@pytest.mark.parametrize("masked", [False, True])
def test_pairs_and_voices(decoder, masked):
    made = codec(decoder)
    lengths = torch.tensor([960, 640])
    mask = torch.arange(960) < lengths[:, None] if masked else None
    batch = Batch(torch.randn(2, 1, 960).clamp(-1, 1), mask, {"speaker": torch.tensor([0, 2])})
    made.train()
    shown = {one.tag: one for one in media(made, batch, voices=2)}
    assert made.training
    assert made.quantizer.training
    pairs = {f"pair-{i}/{name}" for i in (0, 1) for name in ("recording", "codec")}
    mels = {f"{tag}-mel" for tag in pairs}
    assert set(shown) == pairs | mels | {"codes/pair-0", "voices/ann", "voices/bob"}
    expected = 640 if masked else 960
    for name in ("recording", "codec"):
        sound, picture = shown[f"pair-1/{name}"], shown[f"pair-1/{name}-mel"]
        assert sound.array.shape == (expected,)
        assert abs(sound.array).max() <= 1
        assert picture.array.shape == (80, expected // 160)
        assert picture.array.dtype == "uint8"
    assert len(shown["codes/pair-0"].array.split()) == 3
    assert shown["voices/bob"].array.shape == (960,)
