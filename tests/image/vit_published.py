"""The names of the public code's tensors (thuanz123/enhancing-transformers), for the waves that fill them."""

import re

from speechvq.codec import Codec
from speechvq.image.vit_sizes import Reading, Size

from .. import wavefill

TINY = Size(blocks=2, heads=2, width=32, hidden=64)
RULES = (
    (r"^quantizer\.codebook\.vectors$", "quantizer.embedding.weight"),
    (r"^encoder\.project\.", "pre_quant."),
    (r"^decoder\.project\.", "post_quant."),
    (r"^encoder\.enter\.", "encoder.to_patch_embedding.0."),
    (r"^decoder\.leave\.", "decoder.to_pixel.1."),
    (r"\.patches\.blocks\.(\d+)\.before\.", r".transformer.layers.\1.0.norm."),
    (r"\.patches\.blocks\.(\d+)\.look\.", r".transformer.layers.\1.0.fn.to_qkv."),
    (r"\.patches\.blocks\.(\d+)\.bring\.", r".transformer.layers.\1.0.fn.to_out."),
    (r"\.patches\.blocks\.(\d+)\.between\.", r".transformer.layers.\1.1.norm."),
    (r"\.patches\.blocks\.(\d+)\.widen\.", r".transformer.layers.\1.1.fn.net.0."),
    (r"\.patches\.blocks\.(\d+)\.narrow\.", r".transformer.layers.\1.1.fn.net.2."),
    (r"\.patches\.norm\.", ".transformer.norm."),
)


def codec_name(own: str) -> str | None:
    """Theirs; None for positions, which stay, and for what they have not."""
    for pattern, theirs in RULES:
        if re.search(pattern, own):
            return re.sub(pattern, theirs, own)
    return None


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
