"""Where codes begin: at random, on vectors of the first batches, or at their k-means (Lloyd 1982).

A codebook far from the encoder's outputs starts with most of its codes dead; starting on the data
avoids it (Lancucki et al. 2020). Collection stops once enough vectors have been seen.

And when: an encoder that has learned nothing tells little more than how bright a patch or how loud a moment
is. Codes that begin on that tell nothing else, the decoder learns to do with it, and the encoder is never
asked for more. Where that happens, vectors pass as they are for the first steps, and codes begin after.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.nearest import walk
from speechvq.quantize.rows import never_half

STARTS = ("normal", "uniform", "data", "kmeans")


@dataclass(frozen=True)
class Start:
    """Where codes begin."""

    by: str = "kmeans"
    """"normal", "uniform", "data" (vectors drawn from the first batches) or "kmeans" of them."""
    scale: float | None = None
    """Deviation of "normal" (1 if None) or bound of "uniform" (1 / codebook_size if None)."""
    per_code: int = 10
    """Vectors per code that "kmeans" collects; until then it is fitted anew as often as they have doubled."""
    iterations: int = 10
    """Lloyd iterations of "kmeans"."""
    after: int = 0
    """Forward passes in training whose vectors pass as they are, before codes begin."""

    def __post_init__(self) -> None:
        if self.by not in STARTS:
            raise BadSetting(f"codes cannot start by {self.by!r}; choose one of {', '.join(STARTS)}")
        if self.scale is not None and not self.scale > 0:
            raise BadSetting(f"the start's scale is {self.scale}; it must be above 0")
        if self.per_code < 1 or self.iterations < 1:
            raise BadSetting(
                f"the start's per_code is {self.per_code} and its iterations {self.iterations}; "
                "both must be at least 1"
            )
        if self.after < 0:
            raise BadSetting(f"codes cannot begin after {self.after} passes; give 0 or more")

    @property
    def needs_data(self) -> bool:
        """Whether the first batches decide."""
        return self.by in ("data", "kmeans")


def random_vectors(start: Start, codebook_size: int, dim: int) -> Tensor:
    """Codes (K, D) before any data was seen, from torch's random numbers."""
    if start.by == "uniform":
        bound = 1 / codebook_size if start.scale is None else start.scale
        return torch.empty(codebook_size, dim).uniform_(-bound, bound)
    return torch.randn(codebook_size, dim) * (1.0 if start.scale is None else start.scale)


class Pool(nn.Module):
    """The vectors of the first batches, of all workers, until there are enough of them.

    Buffers, so that a run that stops in between resumes the same: ``vectors`` (n, D), empty before
    and after the collection, ``started``, and ``waited``, the passes before it, where there are any.
    ``pending`` mirrors ``started`` in plain Python, which spares the steps that follow a look at the device.

    Attributes:
        waits: whether the vectors of this one pass as they are.
    """

    vectors: Tensor
    started: Tensor
    waited: Tensor

    def __init__(self, start: Start, dim: int, codebook_size: int) -> None:
        """Collect for ``codebook_size`` codes of ``dim`` channels."""
        super().__init__()
        self.wanted = codebook_size * (start.per_code if start.by == "kmeans" else 1)
        self.start, self.waits = start, False
        self.pending = start.needs_data or start.after > 0
        self.register_buffer("vectors", torch.empty(0, dim))
        self.register_buffer("started", torch.tensor(not self.pending))
        if start.after:
            self.register_buffer("waited", torch.tensor(0))

    @torch.no_grad()
    def wait(self) -> bool:
        """Count a pass, while ``pending``; whether it is one of those before codes begin."""
        self.waits = self.start.after > 0 and int(self.waited) < self.start.after
        if self.waits:
            self.waited += 1
        elif not self.start.needs_data:
            self._end()
        return self.waits

    def _end(self) -> None:
        self.pending = False
        self.started.fill_(True)

    @torch.no_grad()
    def add(self, x_ND: Tensor, valid_N: Tensor | None) -> Tensor:
        """Add this batch; all vectors so far (n, D), the same on every worker, or none (0, D) for now.

        There are none while fewer than a power of two more were seen than the last time: to fit many codes
        at every small batch would take most of the time of training.
        """
        usable_N = x_ND.isfinite().all(1)
        usable_N = usable_N if valid_N is None else usable_N & valid_N
        found = torch.cat([self.vectors, workers.gather(x_ND.detach()[usable_N])])
        if len(found) >= self.wanted:
            self._end()
            self.vectors = found[:0].clone()
            return found
        doubled = len(found).bit_length() > len(self.vectors).bit_length()
        self.vectors = found
        return found if doubled else found[:0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Pool":
        return super()._apply(never_half(fn), recurse)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.get(prefix + "vectors")
        if stored is not None:
            self.vectors = self.vectors.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.pending = not bool(self.started)


def seeded() -> torch.Generator:
    """Random numbers that depend on torch's seed and do not disturb torch's own sequence."""
    return torch.Generator().manual_seed(torch.initial_seed() % (1 << 63))


@torch.no_grad()
def fit(
    start: Start, x_ND: Tensor, codebook_size: int, *, generator: torch.Generator, unit: bool = False
) -> Tensor:
    """Codes (K, D) for the vectors ``x_ND``, N at least 1, by the start's rule ("data", "kmeans").

    With ``unit`` the vectors have length one, and the codes as well.
    """
    codes_KD = drawn(x_ND, codebook_size, generator=generator)
    if start.by == "data" or len(x_ND) <= codebook_size:
        # With no more vectors than codes every vector already is a code.
        return codes_KD
    most = codebook_size * max(start.per_code, 64)
    if len(x_ND) > most:
        # More vectors per code do not make a better start, only a slower one.
        x_ND = drawn(x_ND, most, generator=generator)
    return kmeans(x_ND, codes_KD, iterations=start.iterations, generator=generator, unit=unit)


def drawn(x_ND: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """``count`` rows of ``x_ND`` at random, without repeats as long as there are enough rows."""
    order_N = torch.randperm(len(x_ND), generator=generator).to(x_ND.device)
    return x_ND[order_N[torch.arange(count, device=x_ND.device) % len(x_ND)]]


def draw(usable_N: Tensor, count: int) -> Tensor:
    """Places (count,) of usable rows at random, different ones while there are enough.

    One from each of ``count`` equal parts of the usable rows; without a look at the device. If none is
    usable the places mean nothing.
    """
    device = usable_N.device
    upto_N = usable_N.cumsum(0)
    n = upto_N[-1]
    part_K = (torch.arange(count, device=device) + torch.randint(count, (1,), device=device)) % count
    low_K, high_K = part_K * n // count, (part_K + 1) * n // count
    within_K = (torch.rand(count, device=device) * (high_K - low_K)).long()
    rank_K = torch.minimum(low_K + within_K, (high_K - 1).clamp(min=0)).clamp(max=n - 1)
    rank_K = torch.where(high_K > low_K, rank_K, low_K)
    return torch.searchsorted(upto_N, rank_K + 1).clamp(max=len(usable_N) - 1)


@torch.no_grad()
def kmeans(
    x_ND: Tensor, codes_KD: Tensor, *, iterations: int, generator: torch.Generator, unit: bool = False
) -> Tensor:
    """``codes_KD`` after Lloyd iterations on ``x_ND``; the summed squared distance never rises.

    A code that no vector is nearest to moves onto a vector, drawn in proportion to the squared
    distance from its nearest code (as in k-means++, Arthur and Vassilvitskii 2007). With ``unit`` the
    means are brought to length one (spherical k-means, Dhillon and Modha 2001).
    """
    for _ in range(iterations):
        found = walk(x_ND, [codes_KD], sums=True)
        counts_K = found.counts[0]
        means_KD = found.sums[0] / counts_K.clamp(min=1)[:, None]
        means_KD = F.normalize(means_KD) if unit else means_KD
        codes_KD = torch.where(counts_K[:, None] > 0, means_KD, codes_KD)
        empty = (counts_K == 0).nonzero()[:, 0]
        if len(empty):
            far = _draw_far(found.pull.square().sum(1), len(empty), generator)
            codes_KD[empty[: len(far)]] = x_ND[far]
    return codes_KD


def _draw_far(distance_N: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to ``count`` different places, likelier where ``distance_N`` is large; none where it is 0."""
    weight_N = distance_N.double().cpu()
    count = min(count, int((weight_N > 0).sum()))
    if count == 0:
        return torch.empty(0, dtype=torch.int64, device=distance_N.device)
    # The largest of log(u) / w are a draw without repeats (Efraimidis and Spirakis 2006).
    key_N = torch.rand(len(weight_N), generator=generator, dtype=torch.float64).log() / weight_N
    return key_N.topk(count).indices.to(distance_N.device)
