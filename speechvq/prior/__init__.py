"""Models of codes: what comes next, in nats, and new codes. They see integers only, of any codec."""

from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.wavenet import WaveNetPrior

__all__ = ["PRIORS", "Prior", "WaveNetPrior"]
