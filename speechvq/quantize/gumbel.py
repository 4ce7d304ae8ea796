"""Codes drawn from a softmax over all of them: Gumbel-softmax (Jang et al. 2016; Maddison et al. 2016).

    logits = W z + b      g_k = -log(-log(uniform))      y = softmax((logits + g) / T)

In training the vector is the code of the largest y (hard, with the gradient of y: straight-through) or
the mix y.C of all codes (soft). A loss holds softmax(logits) to the uniform distribution:
sum_k q_k log(K q_k), 0 when uniform and log K when certain. To encode, and out of training, there is
no noise: the code of the largest logit. The temperature T falls while training, as in DALL-E (Ramesh et
al. 2021, appendix A.2); the weight of the loss is that of the VQGAN of Esser et al. (2021).

Legend: N vectors, D channels, K codes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.gradient import in_backward
from speechvq.quantize.rows import check_depth, check_sizes, look_up, never_half, to_rows
from speechvq.quantize.scalar import health

SCHEDULES = ("cosine", "exponential")


@dataclass(frozen=True)
class Anneal:
    """How the temperature falls while training."""

    start: float = 1.0
    """Temperature of the first step."""
    end: float = 1 / 16
    """Temperature from step ``steps`` on."""
    steps: int = 150_000
    """Forward passes in training from ``start`` to ``end``."""
    by: str = "cosine"
    """"cosine" (half a wave) or "exponential" (the same ratio each step)."""

    def __post_init__(self) -> None:
        if not self.start > 0 or not self.end > 0:
            raise BadSetting(f"the temperature goes from {self.start} to {self.end}; both must be above 0")
        if self.steps < 1:
            raise BadSetting(f"the temperature falls in {self.steps} steps; it must be at least 1")
        if self.by not in SCHEDULES:
            raise BadSetting(
                f"the temperature cannot fall by {self.by!r}; choose one of {', '.join(SCHEDULES)}"
            )

    def temperature(self, step: Tensor) -> Tensor:
        """The temperature at ``step``, a scalar count of the steps before."""
        done = step.clamp(min=0, max=self.steps) / self.steps
        if self.by == "exponential":
            return self.start * (done * math.log(self.end / self.start)).exp()
        return self.end + (self.start - self.end) * (1 + (math.pi * done).cos()) / 2


@QUANTIZERS.register("gumbel")
class GumbelQuantizer(Quantizer):
    """A learned distribution over codes: ``indices`` (B, 1, *grid). Loss "prior" unless its weight is 0.

    In training the indices are draws, and the vectors are their codes only if ``hard``. The noise comes
    from torch's random numbers. The codes need not lie near the vectors, so ``stats["error"]``, the
    squared distance between them over the variance of z, tells little here and may exceed 1.
    """

    num_codebooks = 1
    step: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        hard: bool = True,
        anneal: Anneal = Anneal(),  # noqa: B008  (frozen)
        prior: float = 5e-4,
    ) -> None:
        """``codebook_size`` codes of ``dim`` channels; ``prior`` is the weight of the loss.

        Raises:
            BadSetting: ``dim`` or ``codebook_size`` is below 1, or ``prior`` below 0.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size)
        if not prior >= 0:
            raise BadSetting(f"the weight of the prior is {prior}; it must be at least 0")
        self.dim, self.codebook_size = dim, codebook_size
        self.hard, self.anneal, self.prior = hard, anneal, prior
        self.logits = nn.Linear(dim, codebook_size)
        self.vectors = nn.Parameter(torch.randn(codebook_size, dim))
        self.register_buffer("step", torch.tensor(0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GumbelQuantizer":
        return super()._apply(never_half(fn), recurse)

    @property
    def temperature(self) -> Tensor:
        """The temperature (scalar) of the next step."""
        return self.anneal.temperature(self.step)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self.vectors.dtype)
            logits_NK = self.logits(rows.x)
            temperature = self._advance()
            scores_NK = logits_NK + _noise(logits_NK) if self.training else logits_NK
            indices_N = scores_NK.argmax(1)
            codes_ND = F.embedding(indices_N, self.vectors.detach())
            stats = health(
                rows.x, codes_ND, indices_N, rows.valid, self.codebook_size, training=self.training
            )
            if self.training and not self.hard:
                vectors_ND = (scores_NK / temperature).softmax(1) @ self.vectors
            else:
                vectors_ND = HardChoice.apply(scores_NK, self.vectors, indices_N, temperature)
            losses = self._losses(logits_NK, rows.valid) if self.prior > 0 else {}
        return Quantized(rows.to_vectors(vectors_ND), rows.to_indices(indices_N[None]), losses, stats)

    def _advance(self) -> Tensor:
        """The temperature of this step; counts the step, but not when it is computed a second time."""
        if not self.training:
            return self.temperature
        if in_backward():
            return self.anneal.temperature(self.step - 1)
        temperature = self.temperature
        self.step.add_(1)
        return temperature

    def _losses(self, logits_NK: Tensor, valid_N: Tensor | None) -> dict[str, Tensor]:
        weight_N = torch.ones_like(logits_NK[:, 0]) if valid_N is None else valid_N.to(logits_NK.dtype)
        log_NK = logits_NK.log_softmax(1)
        distance_N = (log_NK.exp() * log_NK).sum(1) + math.log(self.codebook_size)
        count = weight_N.sum()
        mean = weight_N @ distance_N / count.clamp(min=1)
        return {"prior": self.prior * (workers.mean_over(mean, count) if self.training else mean)}

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`: without noise."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, None, self.dim, self.vectors.dtype)
            return rows.to_indices(self.logits(rows.x).argmax(1)[None])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        return look_up([self.vectors], indices, nn.Identity())


class HardChoice(torch.autograd.Function):
    """The chosen codes, bit for bit, with the gradient of softmax(scores / temperature) as the mix.

    The mix itself is never made: its value is not needed, and its gradient takes one product. The
    codes get their gradient as in a look-up.
    """

    @staticmethod
    def forward(
        ctx: Any, scores_NK: Tensor, codes_KD: Tensor, indices_N: Tensor, temperature: Tensor
    ) -> Tensor:
        """Rows (N, D) of ``codes_KD``; ``temperature`` is a scalar."""
        ctx.save_for_backward(scores_NK, codes_KD, indices_N, temperature)
        return F.embedding(indices_N, codes_KD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the scores and of the codes."""
        scores_NK, codes_KD, indices_N, temperature = ctx.saved_tensors
        (grad_ND,) = grads
        share_NK = (scores_NK / temperature).softmax(1)
        pull_NK = grad_ND @ codes_KD.T
        grad_scores = share_NK * (pull_NK - (share_NK * pull_NK).sum(1, keepdim=True)) / temperature
        grad_codes = torch.zeros_like(codes_KD).index_add_(0, indices_N, grad_ND)
        return grad_scores, grad_codes, None, None


def _noise(like_NK: Tensor) -> Tensor:
    """Standard Gumbel noise, up to 16.6 in float32 (a larger one has a chance of 6e-8).

    From uniform numbers: exponential ones take seven times as long on a CPU.
    """
    tiny = torch.finfo(like_NK.dtype).tiny
    return -torch.rand_like(like_NK, requires_grad=False).clamp(min=tiny).log().neg().log()
