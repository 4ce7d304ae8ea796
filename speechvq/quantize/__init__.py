"""Vectors in, integers out, of any modality: the quantizers, chosen by name from `QUANTIZERS`."""

from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Learning, Revival
from speechvq.quantize.diversity import Diversity
from speechvq.quantize.grouped import GroupedQuantizer
from speechvq.quantize.gumbel import Anneal, GumbelQuantizer
from speechvq.quantize.lookup_free import LFQ
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.scalar import FSQ
from speechvq.quantize.space import Space
from speechvq.quantize.stack import Chance
from speechvq.quantize.start import Start
from speechvq.quantize.vector import VectorQuantizer

__all__ = [
    "FSQ",
    "LFQ",
    "QUANTIZERS",
    "Anneal",
    "Chance",
    "Diversity",
    "GroupedQuantizer",
    "GumbelQuantizer",
    "Learning",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "Revival",
    "Space",
    "Start",
    "VectorQuantizer",
]
