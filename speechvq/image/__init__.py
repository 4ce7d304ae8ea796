"""Pictures: their encoders and decoders; importing this puts them in the tables."""

from speechvq.image.conv import ConvDecoder, ConvEncoder
from speechvq.image.stacked import StackedDecoder, StackedEncoder
from speechvq.image.vit import ViTDecoder, ViTEncoder
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "StackedDecoder",
    "StackedEncoder",
    "VQGANDecoder",
    "VQGANEncoder",
    "ViTDecoder",
    "ViTEncoder",
]
