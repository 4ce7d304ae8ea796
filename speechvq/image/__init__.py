"""Pictures: their encoders and decoders; importing this puts them in the tables."""

from speechvq.image.conv import ConvDecoder, ConvEncoder
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder

__all__ = ["ConvDecoder", "ConvEncoder", "VQGANDecoder", "VQGANEncoder"]
