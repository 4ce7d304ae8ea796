"""Vectors in, integers out, of any modality: the quantizers, chosen by name from `QUANTIZERS`."""

from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Learning, Revival
from speechvq.quantize.diversity import Diversity
from speechvq.quantize.grouped import GroupedQuantizer
from speechvq.quantize.gumbel import Anneal, GumbelQuantizer
from speechvq.quantize.health import CodebookHealth, Health, HealthFigures
from speechvq.quantize.lookup_free import LFQ
from speechvq.quantize.remap import Remap, keep_used, used_codes
from speechvq.quantize.residual import ResidualQuantizer
from speechvq.quantize.scalar import FSQ
from speechvq.quantize.soft import SoftLabels, Softness, SoftTargets, soft_labels, soft_targets
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
    "CodebookHealth",
    "Diversity",
    "GroupedQuantizer",
    "GumbelQuantizer",
    "Health",
    "HealthFigures",
    "Learning",
    "Quantized",
    "Quantizer",
    "Remap",
    "ResidualQuantizer",
    "Revival",
    "SoftLabels",
    "SoftTargets",
    "Softness",
    "Space",
    "Start",
    "VectorQuantizer",
    "keep_used",
    "soft_labels",
    "soft_targets",
    "used_codes",
]
