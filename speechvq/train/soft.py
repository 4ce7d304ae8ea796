"""Teaching a prior what each code might have been as well (Lee et al. 2022, section 3.2.3).

The codec listens anew to the signals of every batch, crops that were never cut before. The prior reads codes
drawn from Q (`speechvq.quantize.soft`), each depth on what the drawn codes left, and is taught all of Q; both
can be had apart. Held-out codes stay the codec's own, so that runs compare. A crop of a recording is heard
by itself, where held-out codes are of whole recordings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import BadSetting
from speechvq.prior import Prior
from speechvq.prior.residual import ResidualPrior
from speechvq.quantize.soft import soft_targets
from speechvq.table import settings
from speechvq.train.objective import Outcome


@dataclass(frozen=True)
class Soft:
    """Whether, and how softly, in ``model.soft``."""

    temperature: float | None = None  # of Q, in squared distance between codes; null or 0: codes as stored
    labels: bool = True  # teach all of Q; false: the code that is read
    codes: bool = True  # read codes drawn from Q; false: the nearest ones

    def __post_init__(self) -> None:
        at = self.temperature or 0
        if isinstance(at, (bool, str)) or not 0 <= at < math.inf:
            raise BadSetting(f"model.soft.temperature is {at}; give a number above 0, or null for hard codes")
        for name in ("labels", "codes"):
            if not isinstance(getattr(self, name), bool):
                raise BadSetting(f"model.soft.{name} is {getattr(self, name)}; give true or false")

    def __str__(self) -> str:
        labels = "soft labels" if self.labels else "hard labels"
        return f"{labels} and {'drawn' if self.codes else 'nearest'} codes at temperature {self.temperature}"

    @classmethod
    def of(cls, values: Any) -> "Soft":
        """The checked settings of ``model.soft``; None for none."""
        if not isinstance(values, (Mapping, type(None))):
            raise BadSetting(f"model.soft is {values}; give model.soft.temperature=0.5")
        return settings(cls, values or {}, "model.soft")

    def check(self, prior: Prior, codec: Codec, told: Mapping[str, Codec | None]) -> None:
        """Raise `BadSetting` now if this prior or this codec cannot be had softly."""
        if self.labels and not isinstance(prior, ResidualPrior):
            raise BadSetting(
                f"the prior {prior.spec['name']} cannot be taught soft labels; use the prior residual, or "
                "give model.soft.labels=false"
            )
        for name, other in told.items():
            if other is not None:
                raise BadSetting(
                    f"fresh crops come without the codes of {name}; leave model.soft or model.told.{name} out"
                )
        soft_targets(codec.quantizer, torch.zeros(1, codec.quantizer.dim, 1), temperature=1.0)


def teach(prior: Prior, codec: Codec, batch: Batch, soft: Soft) -> Outcome:
    """What the prior loses on the codes of a batch's signals, as ``soft`` says.

    The loss is "prior/soft", the cross entropy to Q, or "prior/nll", both in nats per code. The figures of Q
    are "soft/certainty_1" and "soft/entropy_1" of the first depth, and so on: the first cannot fall below
    the mean of the entropies.
    """
    with torch.no_grad(), torch.autocast(batch.signal.device.type, enabled=False):
        mask = None if batch.mask is None else codec.encoder.code_mask(batch.mask)
        targets = soft_targets(
            codec.quantizer,
            # In mixed precision signals come in half of it, and the codec listens in full, as it always does.
            codec.encoder(batch.signal.float(), batch.mask),
            temperature=soft.temperature or 0,
            sample=soft.codes,
            mask=mask,
        )
        figures = targets.figures()
    codes = Codes(targets.indices, mask)
    if soft.labels:
        assert isinstance(prior, ResidualPrior)
        name, loss = "prior/soft", prior.soft_loss(codes, targets, batch.condition)
    else:
        name, loss = "prior/nll", prior.loss(codes, batch.condition)
    both = {"certainty": figures.certainty, "entropy": figures.entropy}
    stats = {f"soft/{what}_{v}": value for what, values in both.items() for v, value in enumerate(values, 1)}
    return Outcome(loss, {name: loss.detach().float()}, stats, None)
