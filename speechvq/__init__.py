"""Discrete units learned from raw speech, spoken again in any trained voice.

The front door: ``from speechvq import Codec``. Names are looked up when they are first used, so that
importing the package loads neither torch nor an audio library.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechvq.codec import Batch, Codec, Codes
    from speechvq.errors import SpeechVQError
    from speechvq.prior import Prior
    from speechvq.quantize import (
        FSQ,
        LFQ,
        GroupedQuantizer,
        GumbelQuantizer,
        Quantized,
        Quantizer,
        ResidualQuantizer,
        VectorQuantizer,
    )

    __version__: str

_PLACES = {
    "Batch": "speechvq.codec",
    "Codec": "speechvq.codec",
    "Codes": "speechvq.codec",
    "FSQ": "speechvq.quantize",
    "GroupedQuantizer": "speechvq.quantize",
    "GumbelQuantizer": "speechvq.quantize",
    "LFQ": "speechvq.quantize",
    "Prior": "speechvq.prior",
    "Quantized": "speechvq.quantize",
    "Quantizer": "speechvq.quantize",
    "ResidualQuantizer": "speechvq.quantize",
    "SpeechVQError": "speechvq.errors",
    "VectorQuantizer": "speechvq.quantize",
}

__all__ = [
    "Batch",
    "Codec",
    "Codes",
    "FSQ",
    "GroupedQuantizer",
    "GumbelQuantizer",
    "LFQ",
    "Prior",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "SpeechVQError",
    "VectorQuantizer",
    "__version__",  # pyright: ignore[reportUnsupportedDunderAll]
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("speechvq")
        except PackageNotFoundError:  # a checkout on the path that was never installed
            return "0+unknown"
    if name not in _PLACES:
        raise AttributeError(f"speechvq has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
