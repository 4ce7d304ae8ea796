"""Models of codes: what comes next, in nats, and new codes. They see integers only, of any codec."""

from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.pixelcnn import PixelCNNPrior
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.sampling import Steering
from speechvq.prior.transformer import TransformerPrior
from speechvq.prior.wavenet import WaveNetPrior

__all__ = [
    "PRIORS",
    "GPTPrior",
    "PixelCNNPrior",
    "Prior",
    "ResidualPrior",
    "Steering",
    "TransformerPrior",
    "WaveNetPrior",
]
