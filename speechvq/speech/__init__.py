"""Sound in and out, and the encoders and decoders of speech; importing this puts them in the tables."""

from speechvq.speech.encoder import MelEncoder, StridedEncoder
from speechvq.speech.gru import GRUDecoder
from speechvq.speech.mute import MuteDecoder
from speechvq.speech.spectral import SpectralDecoder
from speechvq.speech.wavenet import WaveNetDecoder
from speechvq.speech.zerospeech import VQCPCEncoder, ZeroSpeechEncoder

__all__ = [
    "GRUDecoder",
    "MelEncoder",
    "MuteDecoder",
    "SpectralDecoder",
    "StridedEncoder",
    "VQCPCEncoder",
    "WaveNetDecoder",
    "ZeroSpeechEncoder",
]
