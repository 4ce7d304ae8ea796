"""The tiny model of the public code (thuanz123/enhancing-transformers), filled with waves by their names."""

from speechvq.bridge.vit import codec_name
from speechvq.codec import Codec
from speechvq.image.vit_sizes import Reading, Size

from .. import wavefill

__all__ = ["TINY", "codec_name", "tiny_codec"]
TINY = Size(blocks=2, heads=2, width=32, hidden=64)


def tiny_codec() -> Codec:
    """Pictures of 16 pixels, patches of 4, 16 codes of 8 channels; filled."""
    reading = Reading(tanh=True, learned=False, last=False, bias=False, head=16, range="unit")
    both = {"name": "vit", "size": TINY, "reading": reading, "side": 16}
    learning = {"by": "gradient", "commitment": 0.25, "codebook": 1.0}
    codec = Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": both | {"patch": 4, "dim": 8},
            "quantizer": {
                "name": "vector",
                "codebook_size": 16,
                "learning": learning,
                "start": {"by": "normal"},
                "revival": {"threshold": 0.0},
                "space": {"metric": "cosine", "gradient": "vector"},
            },
            "decoder": both | {"loss": {"error": "squared", "features": 0.0}, "laplace": {"weight": 0.0}},
        }
    )
    wavefill.fill(codec, codec_name)
    return codec.eval()
