"""Sound in and out, and the encoders and decoders of speech; importing this puts them in the tables."""

from speechvq.speech.encoder import MelEncoder, StridedEncoder
from speechvq.speech.spectral import SpectralDecoder
from speechvq.speech.wavenet import WaveNetDecoder

__all__ = ["MelEncoder", "SpectralDecoder", "StridedEncoder", "WaveNetDecoder"]
