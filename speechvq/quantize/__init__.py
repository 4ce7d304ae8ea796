"""Vectors in, integers out, of any modality: the quantizers, chosen by name from `QUANTIZERS`."""

from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Learning, Revival
from speechvq.quantize.diversity import Diversity
from speechvq.quantize.grouped import GroupedQuantizer
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.space import Space
from speechvq.quantize.stack import Chance
from speechvq.quantize.start import Start
from speechvq.quantize.vector import VectorQuantizer

__all__ = [
    "QUANTIZERS",
    "Chance",
    "Diversity",
    "GroupedQuantizer",
    "Learning",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "Revival",
    "Space",
    "Start",
    "VectorQuantizer",
]
