"""The workshop in which codecs and priors are trained: ``train(compose(["experiment=speech"]))``."""

from speechvq.train.loop import train
from speechvq.train.settings import Settings, compose

__all__ = ["Settings", "compose", "train"]
