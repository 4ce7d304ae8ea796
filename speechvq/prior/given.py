"""What a prior of whatever kind is told beside codes, but for who speaks, and what that takes if it is sent.

A prior says p(codes | told). With classes c that are as likely as one another, p(codes) is at least
p(c) p(codes | c), so that a bound on what codes cost has to pay for the class as well.
"""

import math

from speechvq.prior.base import Prior
from speechvq.prior.conditions import Given
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.residual import ResidualPrior


def given_of(prior: Prior) -> tuple[Given, ...]:
    """All that it is told, in its order."""
    if isinstance(prior, GPTPrior):
        return prior.given
    if isinstance(prior, ResidualPrior) and prior.told.words:
        return (Given("text", prior.told.words, "tokens"),)
    labels = getattr(prior, "labels", ())
    return (Given("label", len(labels), "label", names=labels),) if labels else ()


def class_nats(prior: Prior) -> float:
    """Nats that the classes take that it is told, each as one of so many; of whatever else, nothing."""
    return sum(math.log(one.size) for one in given_of(prior) if one.kind == "label")
