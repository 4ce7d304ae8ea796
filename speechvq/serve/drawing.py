"""How new codes are drawn: alike in all codebooks or, from a stack of them, each in its own way."""

from typing import Any

from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.prior.residual import ResidualPrior

type Drawing = Sampling | tuple[Sampling, ...]
"""One for all codebooks, or one for each; the seed is that of the first."""


def drawn_by(prior: Prior, drawing: Drawing) -> Any:
    """The ``sampling`` of `Prior.generate`.

    Raises:
        BadSetting: there are several, and the prior draws all codes alike.
    """
    if isinstance(drawing, Sampling) or isinstance(prior, ResidualPrior):
        return drawing
    raise BadSetting(
        f"the prior {prior.spec['name']} draws the codes of all codebooks alike; give one temperature, "
        "top-k and top-p, without commas"
    )


def seed_of(drawing: Drawing) -> int:
    """Of everything that is drawn."""
    return drawing.seed if isinstance(drawing, Sampling) else drawing[0].seed
