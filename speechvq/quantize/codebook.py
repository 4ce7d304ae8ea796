"""A codebook and how it learns: exponential moving averages (van den Oord et al. 2017, appendix A.1).

Per code i, with n_i vectors nearest to it in the batch of all workers and s_i their sum:

    N_i <- decay N_i + (1 - decay) n_i      m_i <- decay m_i + (1 - decay) s_i      e_i = m_i / N~_i
    N~_i = (N_i + eps) / (N + K eps) N      with N the sum of all N_i

N starts at one and m at e: starting at N = 0 would throw every code that is not hit far away at the
first step. The smoothed N~ serves the division only; N itself is stored. Or the codes are parameters
and learn by gradient, from the codebook loss of section 3.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.nearest import nearest
from speechvq.quantize.rows import never_half
from speechvq.quantize.start import Start, random_vectors

RULES = ("ema", "gradient")
SCALINGS = ("mean", "sum")


@dataclass(frozen=True)
class Learning:
    """How codes follow the vectors, and how the vectors are held to the codes."""

    by: str = "ema"
    """"ema" (moving averages) or "gradient" (codes are parameters, with a codebook loss)."""
    decay: float = 0.99
    """Decay of the moving averages, in [0, 1)."""
    epsilon: float = 1e-5
    """Laplace smoothing of the counts, for the division only."""
    commitment: float = 0.25
    """Weight of the commitment loss, beta in the paper."""
    scaling: str = "mean"
    """Losses are the "mean" over vectors and channels, or the "sum" over channels and mean over vectors."""

    def __post_init__(self) -> None:
        if self.by not in RULES:
            raise BadSetting(f"codes cannot learn by {self.by!r}; choose one of {', '.join(RULES)}")
        if not 0 <= self.decay < 1:
            raise BadSetting(f"the learning's decay is {self.decay}; it must be in [0, 1)")
        if not self.epsilon > 0:
            raise BadSetting(f"the learning's epsilon is {self.epsilon}; it must be above 0")
        if not self.commitment >= 0:
            raise BadSetting(f"the commitment weight is {self.commitment}; it must be at least 0")
        if self.scaling not in SCALINGS:
            raise BadSetting(
                f"losses cannot be scaled by {self.scaling!r}; choose one of {', '.join(SCALINGS)}"
            )


@dataclass(frozen=True)
class Revival:
    """When a code counts as dead; it then moves onto a vector drawn from the batch."""

    threshold: float = 0.1
    """Dead is a code used less than this fraction of its fair share (N / K); 0 revives none."""
    decay: float = 0.99
    """Decay of the running use; an unused code dies after log(threshold) / log(decay) steps."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise BadSetting(f"the revival's threshold is {self.threshold}; it must be in [0, 1)")
        if not 0 <= self.decay < 1:
            raise BadSetting(f"the revival's decay is {self.decay}; it must be in [0, 1)")


@dataclass(frozen=True)
class Statistics:
    """What a batch tells a codebook. Adds up over visits (depths of a stack) and over workers.

    Attributes:
        counts: (K,) vectors nearest to each code.
        sums: (K, D) their sum; empty when codes learn by gradient.
        offers: (K, D) a vector of the batch for each code, should it be dead; empty without revival.
        offered: (K,) one where there is such a vector.
    """

    counts: Tensor
    sums: Tensor
    offers: Tensor
    offered: Tensor

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(*(a + b for a, b in zip(self.parts(), other.parts(), strict=True)))

    def parts(self) -> list[Tensor]:
        """The tensors, in the order of the attributes."""
        return [self.counts, self.sums, self.offers, self.offered]


class Codebook(nn.Module):
    """Codes ``vectors`` (K, D), kept in float32 whatever the module is cast to, and their state.

    ``vectors`` is a parameter when learning by gradient, else a buffer. Buffers: ``counts`` (K,) and
    ``sums`` (K, D), the moving averages; ``use`` (K,), the running use of each code in units of its
    fair share.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    use: Tensor

    def __init__(
        self, dim: int, codebook_size: int, *, learning: Learning, start: Start, revival: Revival
    ) -> None:
        """``codebook_size`` codes of ``dim`` channels."""
        super().__init__()
        self.learning, self.revival = learning, revival
        vectors_KD = random_vectors(start, codebook_size, dim)
        if learning.by == "gradient":
            self.vectors = nn.Parameter(vectors_KD)
        else:
            self.register_buffer("vectors", vectors_KD)
            self.register_buffer("counts", torch.ones(codebook_size))
            self.register_buffer("sums", vectors_KD.clone())
        self.register_buffer("use", torch.ones(codebook_size))
        self._aligned = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Codebook":
        return super()._apply(never_half(fn), recurse)

    @torch.no_grad()
    def restart(self, vectors_KD: Tensor) -> None:
        """Take these codes, and forget all statistics of the ones before."""
        self.vectors.copy_(vectors_KD)
        self.use.fill_(1)
        if self.learning.by == "ema":
            self.counts.fill_(1)
            self.sums.copy_(self.vectors)

    def align(self) -> None:
        """Take worker 0's state, once: no engine keeps the buffers of its workers equal for us."""
        if not self._aligned and workers.size() > 1:
            workers.copy_from_first([b for b in self.buffers() if b.is_floating_point()])
            self._aligned = True

    def search(self, x_ND: Tensor) -> Tensor:
        """Index (N,) of the nearest code of every row."""
        return nearest(x_ND.detach(), self.vectors.detach())

    @torch.no_grad()
    def statistics(
        self, x_ND: Tensor, indices_N: Tensor, valid_N: Tensor | None, *, visit: int = 0, visits: int = 1
    ) -> Statistics:
        """What this worker's rows tell, as number ``visit`` of the ``visits`` in this call."""
        K, D = self.vectors.shape
        x_ND = x_ND.detach()
        # One broken vector must not break the codebook, so what is not finite is left out.
        usable_N = x_ND.isfinite().all(1)
        usable_N = usable_N if valid_N is None else usable_N & valid_N
        x_ND = torch.where(usable_N[:, None], x_ND, 0)
        counts_K = x_ND.new_zeros(K).index_add_(0, indices_N, usable_N.to(x_ND.dtype))
        sums_KD = x_ND.new_zeros(0)
        if self.learning.by == "ema":
            sums_KD = x_ND.new_zeros(K, D).index_add_(0, indices_N, x_ND)
        offers_KD, offered_K = x_ND.new_zeros(0), x_ND.new_zeros(0)
        if self.revival.threshold > 0:
            # Row k is offered by one visit of one worker, so that adding up makes the union.
            slot, slots = visit * workers.size() + workers.rank(), visits * workers.size()
            ours_K = torch.arange(K, device=x_ND.device) % slots == slot
            offered_K = (ours_K & usable_N.any()).to(x_ND.dtype)
            offers_KD = _draw(x_ND, usable_N, K) * offered_K[:, None]
        return Statistics(counts_K, sums_KD, offers_KD, offered_K)

    @torch.no_grad()
    def learn(self, seen: Statistics) -> Tensor:
        """Update from the statistics of all workers; return how many codes were revived."""
        K = len(self.vectors)
        total = seen.counts.sum()
        # A batch without a valid vector says nothing: then every decay is one.
        something = (total > 0).to(total.dtype)
        if self.learning.by == "ema":
            weight = (1 - self.learning.decay) * something
            self.counts.mul_(1 - weight).add_(weight * seen.counts)
            self.sums.mul_(1 - weight).add_(weight * seen.sums)
            n, epsilon = self.counts.sum(), self.learning.epsilon
            smoothed_K = (self.counts + epsilon) / (n + K * epsilon) * n
            self.vectors.copy_(self.sums / smoothed_K[:, None])
        if self.revival.threshold == 0:
            return total.new_zeros(())
        weight = (1 - self.revival.decay) * something
        self.use.mul_(1 - weight).add_(weight * seen.counts * K / total.clamp(min=1))
        dead_K = (self.use < self.revival.threshold) & (seen.offered > 0)
        self._replace(dead_K, seen.offers)
        return dead_K.sum().to(total.dtype)

    def _replace(self, dead_K: Tensor, vectors_KD: Tensor) -> None:
        """Begin the dead codes anew, running sums included, else the next update undoes it."""
        self.vectors.copy_(torch.where(dead_K[:, None], vectors_KD, self.vectors))
        self.use.masked_fill_(dead_K, 1)
        if self.learning.by == "ema":
            self.counts.masked_fill_(dead_K, 1)
            self.sums.copy_(torch.where(dead_K[:, None], vectors_KD, self.sums))


def _draw(x_ND: Tensor, usable_N: Tensor, count: int) -> Tensor:
    """``count`` usable rows at random, different ones while there are enough; no look at the device."""
    N = len(x_ND)
    if N == 0:
        return x_ND.new_zeros(count, x_ND.shape[1])
    order_N = torch.randperm(N, device=x_ND.device)
    order_N = order_N[torch.argsort((~usable_N)[order_N].byte(), stable=True)]
    place_K = torch.arange(count, device=x_ND.device) % usable_N.sum().clamp(min=1)
    return x_ND[order_N[place_K]]
