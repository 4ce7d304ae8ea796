"""A codebook and how it learns: exponential moving averages (van den Oord et al. 2017, appendix A.1).

Per code i, with n_i vectors nearest to it in the batch of all workers and s_i their sum:

    N_i <- decay N_i + (1 - decay) n_i      m_i <- decay m_i + (1 - decay) s_i      e_i = m_i / N~_i
    N~_i = (N_i + eps) / (N + K eps) N      with N the sum of all N_i

N starts at one and m at e: starting at N = 0 would throw every code that is not hit far away at the
first step. The smoothed N~ serves the division only; N itself is stored. "debiased" is Sonnet's form:
both averages start at zero and are divided by 1 - decay^t; a code that is not hit then falls to the
origin at the first step. Or the codes are parameters and learn by gradient (section 3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.gradient import ESTIMATORS
from speechvq.quantize.rows import never_half
from speechvq.quantize.space import Space
from speechvq.quantize.start import Start, random_vectors

RULES = ("ema", "debiased", "gradient", "frozen")
SCALINGS = ("mean", "sum")


@dataclass(frozen=True)
class Learning:
    """How codes follow the vectors, and how the vectors are held to the codes."""

    by: str = "ema"
    """"ema" (moving averages), "debiased" (Sonnet's), "gradient" (codes are parameters, with a codebook
    loss) or "frozen" (they stay)."""
    decay: float = 0.99
    """Decay of the moving averages, in [0, 1)."""
    epsilon: float = 1e-5
    """Laplace smoothing of the counts, for the division only."""
    commitment: float = 0.25
    """Weight of the commitment loss, beta in the paper."""
    codebook: float = 1.0
    """Weight of the codebook loss; VQGAN as released has 0.25, and 1 for the commitment ("legacy" beta)."""
    scaling: str = "mean"
    """Losses are the "mean" over vectors and channels, or the "sum" over channels and mean over vectors."""
    estimator: str = "straight-through"
    """How the gradient gets past the choice: "straight-through" or "rotation" (Fifty et al. 2024)."""
    synchronised: float = 0.0
    """How much of the vectors' gradient the codes get as well (Huh et al. 2023); by gradient only."""

    def __post_init__(self) -> None:
        if self.by not in RULES:
            raise BadSetting(f"codes cannot learn by {self.by!r}; choose one of {', '.join(RULES)}")
        if not 0 <= self.decay < 1:
            raise BadSetting(f"the learning's decay is {self.decay}; it must be in [0, 1)")
        if not self.epsilon > 0:
            raise BadSetting(f"the learning's epsilon is {self.epsilon}; it must be above 0")
        for name in ("commitment", "codebook"):
            if not getattr(self, name) >= 0:
                raise BadSetting(f"the {name} weight is {getattr(self, name)}; it must be at least 0")
        if self.scaling not in SCALINGS:
            raise BadSetting(
                f"losses cannot be scaled by {self.scaling!r}; choose one of {', '.join(SCALINGS)}"
            )
        if self.estimator not in ESTIMATORS:
            raise BadSetting(
                f"gradients cannot pass by {self.estimator!r}; choose one of {', '.join(ESTIMATORS)}"
            )
        if self.synchronised and not (self.by == "gradient" and self.synchronised > 0):
            raise BadSetting("the synchronised update is a weight from 0, for codes that learn by gradient")

    @property
    def averages(self) -> bool:
        """Whether codes follow by moving averages."""
        return self.by in ("ema", "debiased")


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


class Codebook(nn.Module):
    """Codes ``vectors`` (K, D), kept in float32 whatever the module is cast to, and their state.

    ``vectors`` is a parameter when learning by gradient, else a buffer. Buffers: ``counts`` (K,) and
    ``sums`` (K, D), the moving averages; ``use`` (K,), the running use of each code in units of its
    fair share; ``steps``, how many updates "debiased" has seen. Parameters ``scale`` and ``shift`` (D,)
    of affine codes, ``projection`` (D, D) of projected ones, whose ``vectors`` stay.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    use: Tensor
    steps: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        learning: Learning,
        start: Start,
        revival: Revival,
        space: Space = Space(),  # noqa: B008  (frozen)
    ) -> None:
        """``codebook_size`` codes of ``dim`` channels.

        Raises:
            BadSetting: affine or projected codes that are not learned by gradient.
        """
        super().__init__()
        if space.codes != "own" and learning.by != "gradient":
            raise BadSetting(f"{space.codes} codes learn by gradient, not {learning.by!r}: set learning.by")
        self.learning, self.revival, self.form = learning, revival, space.codes
        self.cosine = space.metric == "cosine"
        vectors_KD = random_vectors(start, codebook_size, dim)
        if self.cosine and learning.by != "gradient":
            vectors_KD = F.normalize(vectors_KD)
        if learning.by == "gradient" and self.form != "projected":
            self.vectors = nn.Parameter(vectors_KD)
        else:
            self.register_buffer("vectors", vectors_KD)
        if self.form == "affine":
            self.scale, self.shift = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        if self.form == "projected":
            self.projection = nn.Parameter(torch.eye(dim))
        if learning.averages:
            before = 0.0 if learning.by == "debiased" else 1.0
            self.register_buffer("counts", torch.full((codebook_size,), before))
            self.register_buffer("sums", vectors_KD * before)
        if learning.by == "debiased":
            self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("use", torch.ones(codebook_size))
        self._aligned = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Codebook":
        return super()._apply(never_half(fn), recurse)

    def codes(self) -> Tensor:
        """The codes (K, D) as they are searched and looked up, in the graph if they learn by gradient."""
        codes_KD = self.vectors
        if self.revives and (self.form == "affine" or (self.cosine and codes_KD.requires_grad)):
            # Revival writes into the parameter, which the backward pass of what follows still needs.
            codes_KD = codes_KD.clone()
        if self.form == "affine":
            codes_KD = codes_KD * self.scale + self.shift
        if self.form == "projected":
            codes_KD = codes_KD @ self.projection
        return F.normalize(codes_KD) if self.cosine and self.learning.by == "gradient" else codes_KD

    @property
    def revives(self) -> bool:
        """Whether dead codes are moved."""
        return self.revival.threshold > 0 and self.learning.by != "frozen" and self.form != "projected"

    @torch.no_grad()
    def restart(self, vectors_KD: Tensor) -> None:
        """Take these codes, and forget all statistics of the ones before."""
        normalised = self.cosine and self.learning.by != "gradient"
        self.vectors.copy_(F.normalize(vectors_KD) if normalised else vectors_KD)
        self.use.fill_(1)
        if self.form == "affine":
            self.scale.fill_(1)
            self.shift.fill_(0)
        if self.form == "projected":
            self.projection.copy_(torch.eye(len(self.projection)))
        if self.learning.by == "debiased":
            for state in (self.counts, self.sums, self.steps):
                state.zero_()
        elif self.learning.by == "ema":
            self.counts.fill_(1)
            self.sums.copy_(self.vectors)

    def align(self) -> None:
        """Take worker 0's state, once: no engine keeps the buffers of its workers equal for us."""
        if not self._aligned and workers.size() > 1:
            workers.copy_from_first([b for b in self.buffers() if b.is_floating_point()])
            self._aligned = True

    @torch.no_grad()
    def dead(self, counts_K: Tensor) -> Tensor:
        """Take note of how often each code was chosen, over all workers; (K,) which are dead now."""
        if not self.revives:
            return torch.zeros_like(counts_K, dtype=torch.bool)
        total = counts_K.sum()
        share_K = counts_K * (len(counts_K) / total.clamp(min=1))
        # A batch without a valid vector says nothing: then the decay is one.
        self.use.lerp_(share_K, (1 - self.revival.decay) * (total > 0).to(total.dtype))
        return self.use < self.revival.threshold

    @torch.no_grad()
    def learn(self, counts_K: Tensor, sums_KD: Tensor) -> None:
        """Update the averages from what chose each code, over all workers."""
        if self.learning.averages:
            something = (counts_K.sum() > 0).to(counts_K.dtype)
            weight = (1 - self.learning.decay) * something
            self.counts.lerp_(counts_K, weight)
            self.sums.lerp_(sums_KD, weight)
            self._follow(something)

    def _follow(self, something: Tensor) -> None:
        """The codes from the moving averages."""
        n, epsilon = self.counts.sum(), self.learning.epsilon
        smoothed_K = (self.counts + epsilon) / (n + len(self.counts) * epsilon) * n
        if self.learning.by == "debiased":
            # The debiased counts are counts / d and the sums sums / d: d stays in the smoothing only.
            self.steps.add_(something)
            d = self._debias()
            smoothed_K = (self.counts + epsilon * d) / (n + len(self.counts) * epsilon * d) * n
            codes_KD = self.sums / smoothed_K[:, None].clamp(min=torch.finfo(n.dtype).tiny)
            self.vectors.copy_(torch.where(self.steps > 0, codes_KD, self.vectors))
        else:
            torch.div(self.sums, smoothed_K[:, None], out=self.vectors)
        if self.cosine:
            self.vectors.copy_(F.normalize(self.vectors))

    def _debias(self) -> Tensor:
        """1 - decay^t."""
        return 1 - self.learning.decay**self.steps

    @torch.no_grad()
    def revive(self, dead_K: Tensor, vectors_KD: Tensor) -> None:
        """Begin the dead codes anew, running sums included, else the next update undoes it."""
        here_K1 = dead_K[:, None].to(vectors_KD.dtype)
        one = self._debias() if self.learning.by == "debiased" else 1
        if self.form == "affine":
            vectors_KD = (vectors_KD - self.shift) / self.scale
        # Weights of exactly 0 and 1 leave and replace every bit.
        self.vectors.lerp_(vectors_KD, here_K1)
        self.use.masked_fill_(dead_K, 1)
        if self.learning.averages:
            self.counts.lerp_(torch.ones_like(self.counts) * one, here_K1[:, 0])
            self.sums.lerp_(vectors_KD * one, here_K1)
