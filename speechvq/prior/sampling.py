"""What a prior's logits go through before a code is drawn from them by `speechvq.nets.sampling`.

- Guidance: "Classifier-Free Diffusion Guidance" (Ho and Salimans 2022, equation 6) on logits. With the
  logits c of the prior that knows the condition and u of the one that does not: u + w (c - u).
- Repetition penalty, after "CTRL" (Keskar et al. 2019, section 4.1). CTRL divides logits, whose zero
  means nothing; here the chance is divided, so that adding a constant to all logits changes nothing.
- No n codes a second time: "A Deep Reinforced Model for Abstractive Summarization" (Paulus et al. 2018,
  section 2.5), and, because codes of sound repeat by nature, a longest run of one code.

The past of a code are the earlier codes of its own codebook. A rule that would forbid every code gives
way.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Steering:
    """How the past and the condition are to weigh.

    Attributes:
        guidance: w above; 1 is the prior as it is, 0 one that ignores the condition, above 1 exaggerates.
        penalty: by how much a code that was there lately is less likely than it would be; 1 for none.
        window: what "lately" is, in codes.
        max_run: how often a code may come in a row; 0 for as often as it likes.
        no_repeat: n, when no n codes in a row may come a second time; 0 when they may.
    """

    guidance: float = 1.0
    penalty: float = 1.0
    window: int = 50
    max_run: int = 0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if not math.isfinite(self.guidance) or self.guidance < 0:
            raise BadSetting(f"the guidance is {self.guidance}; give 0, 1 (none) or another positive number")
        if not 0 < self.penalty < math.inf:
            raise BadSetting(f"the repetition penalty is {self.penalty}; give 1 (none) or more")
        if min(self.window, self.max_run, self.no_repeat) < 0:
            raise BadSetting("window, max_run and no_repeat must be 0 or positive numbers of codes")


def guide(known: Tensor, unknown: Tensor, guidance: float) -> Tensor:
    """Logits (..., Q) between, or beyond, those with and those without the condition."""
    return unknown + guidance * (known - unknown)


def steer(logits: Tensor, past: Tensor, steering: Steering) -> Tensor:
    """Logits of the next code as its past wants them.

    Args:
        logits: (B, Q).
        past: (B, P) int64 in [0, Q), the codes before it in its codebook.
        steering: which rules.

    Returns:
        (B, Q); minus infinity where a rule forbids a code.
    """
    if steering.penalty != 1 and steering.window and past.shape[1]:
        lately = torch.zeros_like(logits, dtype=torch.bool).scatter(1, past[:, -steering.window :], True)
        logits = torch.where(lately, logits - math.log(steering.penalty), logits)
    for forbidden in (_running(logits, past, steering.max_run), _again(logits, past, steering.no_repeat)):
        if forbidden is not None:
            barred = logits.masked_fill(forbidden, -torch.inf)
            everything = (barred == -torch.inf).all(1, keepdim=True)
            logits = torch.where(everything, logits, barred)
    return logits


def _running(logits: Tensor, past: Tensor, most: int) -> Tensor | None:
    """True for the code that came ``most`` times in a row just now."""
    if not most or past.shape[1] < most:
        return None
    last = past[:, -most:]
    full = (last == last[:, :1]).all(1, keepdim=True)
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, last[:, :1], full)


def _again(logits: Tensor, past: Tensor, count: int) -> Tensor | None:
    """True for codes that followed the last ``count - 1`` codes before."""
    if not count or past.shape[1] < count:
        return None
    grams = past.unfold(1, count, 1)  # (B, P - count + 1, count)
    begun = past[:, past.shape[1] - count + 1 :]
    alike = (grams[:, :, :-1] == begun[:, None]).all(2)
    followed = torch.zeros(logits.shape, dtype=torch.int64, device=logits.device)
    return followed.scatter_add(1, grams[:, :, -1], alike.long()) > 0
