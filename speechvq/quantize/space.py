"""Where vectors and codes are compared: their width, their metric, and what a code is made of.

Factorised and l2-normalised codes (Yu et al. 2022, ViT-VQGAN, section 3.2): a linear layer leads into
a space of few channels, vectors and codes are brought to length one there, another layer leads out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize.rows import never_half

METRICS = ("euclidean", "cosine")
ARRIVALS = ("direction", "vector")
FORMS = ("own", "affine", "projected")
SHORTEST = 1e-12
"""A vector no longer than this has no direction."""


@dataclass(frozen=True)
class Space:
    """Where vectors and codes are compared."""

    dim: int | None = None
    """Channels of a code; None or the vectors' own: no linear layers lead in and out."""
    metric: str = "euclidean"
    """"euclidean", or "cosine": vectors and codes have length one."""
    codes: str = "own"
    """A code is its "own" vector; "affine": that, times a scale and plus a shift that all codes share
    and learn (Huh et al. 2023); "projected": a fixed vector times a learned matrix (SimVQ, Zhu et al.
    2024). The last two learn by gradient."""
    gradient: str = "direction"
    """Where the gradient of the quantized vectors arrives under "cosine": at the "direction", from where it
    passes the bringing to length one; or unchanged at the "vector" as it was before, as in the public code
    of ViT-VQGAN. That of the losses always arrives at the direction."""

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise BadSetting(f"the space of the codes has {self.dim} channels; it must have at least 1")
        if self.metric not in METRICS:
            raise BadSetting(
                f"codes cannot be compared by {self.metric!r}; choose one of {', '.join(METRICS)}"
            )
        if self.codes not in FORMS:
            raise BadSetting(f"codes cannot be {self.codes!r}; choose one of {', '.join(FORMS)}")
        if self.gradient not in ARRIVALS:
            raise BadSetting(
                f"a gradient cannot arrive at the {self.gradient!r}; choose one of {', '.join(ARRIVALS)}"
            )
        if self.gradient == "vector" and self.metric != "cosine":
            raise BadSetting("the gradient passes no length without the metric 'cosine': leave it out")


class Passage(nn.Module):
    """The way into the space of the codes and out again; float32 whatever the module is cast to."""

    def __init__(self, dim: int, space: Space, *, past: bool = False) -> None:
        """For vectors of ``dim`` channels.

        Raises:
            BadSetting: gradients are to arrive at the vector, and the owner does not lead them ``past``.
        """
        super().__init__()
        if space.gradient == "vector" and not past:
            raise BadSetting(
                "only the quantizer 'vector' lets a gradient arrive at the vector: leave space.gradient out"
            )
        self.dim = dim if space.dim is None else space.dim
        self.past = space.gradient == "vector"
        self.cosine = space.metric == "cosine"
        self.project_in: nn.Linear | None = None
        self.project_out: nn.Linear | None = None
        if self.dim != dim:
            self.project_in, self.project_out = nn.Linear(dim, self.dim), nn.Linear(self.dim, dim)

    def into(self, x_ND: Tensor) -> Tensor:
        """Rows (N, dim of the vectors) to what is compared with the codes."""
        return self.directed(self.project(x_ND))

    def project(self, x_ND: Tensor) -> Tensor:
        """The first part of `into`: rows to as many channels as the codes have."""
        return x_ND if self.project_in is None else self.project_in(x_ND)

    def directed(self, x_ND: Tensor) -> Tensor:
        """The second part: what was projected to length one, where that is the metric."""
        return _directions(x_ND) if self.cosine else x_ND

    def out(self, codes_ND: Tensor) -> Tensor:
        """Codes, in rows, to vectors."""
        return codes_ND if self.project_out is None else self.project_out(codes_ND)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Passage":
        return super()._apply(never_half(fn), recurse)


def _directions(x_ND: Tensor) -> Tensor:
    """Rows brought to length one. A row of zeros has no direction: it stays, without a gradient."""
    length_N1 = x_ND.norm(dim=1, keepdim=True)
    return torch.where(length_N1 > SHORTEST, x_ND / length_N1.clamp(min=SHORTEST), 0.0)
