"""Training a prior on the codes of a codec that is finished: the codec listens, the prior learns.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 3.2). The codec hears every
recording once, whole, before the first step; what a batch holds in place of a signal are crops of codes.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import BadSetting, UnknownName
from speechvq.prior import PRIORS, Prior
from speechvq.train.objective import Objective, Outcome
from speechvq.train.settings import Settings
from speechvq.train.task import Task, plan, room_data, warm_start


class PriorObjective(Objective):
    """Nats per code of a prior; the codec stays as it is."""

    def __init__(self, prior: Prior, codec: Codec) -> None:
        """The codec is part of the module, so that it moves with it; none of it learns."""
        super().__init__()
        self.prior, self.codec = prior, codec.requires_grad_(False)

    @property
    def product(self) -> Prior:
        """The prior."""
        return self.prior

    @property
    def label(self) -> str:
        """See `Objective.label`."""
        return "prior"

    def train(self, mode: bool = True) -> "PriorObjective":
        """Training mode, but for the codec."""
        super().train(mode)
        self.codec.eval()
        return self

    def forward(self, parts: Mapping[str, Any], step: int) -> Outcome:
        """See `Objective.forward`."""
        return self.judge(self.prior, Batch(**parts))

    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """See `Objective.judge`; the one loss is "prior/nll", nats per code."""
        assert isinstance(product, Prior)
        loss = product.loss(Codes(batch.signal, batch.mask), batch.condition)
        return Outcome(loss, {"prior/nll": loss.detach().float()}, {}, None)


def open_prior(settings: Settings) -> Task:
    """The task of ``model.prior`` over the codes of the codec in ``model.codec``.

    Raises:
        SpeechVQError: of whatever kind; something in the settings or the data cannot be used.
    """
    if unknown := sorted(set(settings.model) - {"prior", "codec"}):
        raise BadSetting(f"the model of a prior is its prior and a finished codec's folder, not {unknown[0]}")
    if not settings.model.get("codec"):
        raise BadSetting("whose codes? give model.codec=FOLDER, the folder of a finished codec")
    codec = Codec.from_pretrained(Path(settings.model["codec"]))
    corpus, board = room_data(settings)
    prior = build_prior(settings.model["prior"], codec, corpus.speakers)
    facts = plan(codec) | {"data": str(corpus)}
    facts["prior"] = f"{prior.spec['name']}, {sum(p.numel() for p in prior.parameters()):,} parameters"
    if settings.init_from:
        facts["begins with"] = warm_start(prior, settings.init_from)
    facts["objective"] = f"nats per code ({math.log(codec.quantizer.codebook_size):.3f} for a blind guess)"
    use_gpu = settings.runtime.accelerator != "cpu" and torch.cuda.is_available()
    hear = importlib.import_module(f"speechvq.{settings.room}.heard").hear
    device = "cuda" if use_gpu else "cpu"
    heard = hear(corpus.settings, codec, ("train", "valid"), voices=prior.speakers, device=device)
    media = partial(_dreams, codec, board.spoken)
    return Task(PriorObjective(prior, codec), heard["train"], heard["valid"], media, None, facts)


def build_prior(spec: Mapping[str, Any], codec: Codec, voices: Sequence[str]) -> Prior:
    """The prior of ``spec`` for this codec's codes.

    Args:
        spec: its name and settings; ``speakers: auto`` are the codec's voices that there is data of.
        codec: finished.
        voices: of the data.

    Raises:
        UnknownName: a speaker that the codec does not know, and so could not speak for the prior.
    """
    values = dict(spec)
    if values.get("speakers") == "auto":
        values["speakers"] = [name for name in codec.decoder.speakers if name in voices]
    for name in values.get("speakers") or ():
        if name not in codec.decoder.speakers:
            raise UnknownName("voice of the codec", str(name), list(codec.decoder.speakers))
    quantizer = codec.quantizer
    return PRIORS.build(
        values,
        codebook_size=quantizer.codebook_size,
        num_codebooks=quantizer.num_codebooks,
        codec=codec.fingerprint,
    )


def _dreams(codec: Codec, spoken: Any, prior: nn.Module, batch: Batch, *, most: int = 4) -> list[Any]:
    """New codes as long as the batch's, and its recordings gone on with after half; spoken by the codec."""
    assert isinstance(prior, Prior)
    codes = Codes(batch.signal[:most], None if batch.mask is None else batch.mask[:most])
    condition, count = {n: values[:most] for n, values in batch.condition.items()}, len(codes.indices)
    grid = tuple(codes.indices.shape[2:])
    # The prior counts its own speakers, the codec all of its voices.
    rows = [codec.decoder.speakers.index(name) for name in prior.speakers or codec.decoder.speakers]
    voice = {"speaker": torch.tensor(rows, device=codes.indices.device)[condition["speaker"]]}
    shown = spoken(codec, prior.generate(grid, condition, count=count), voice)
    # Of a padded batch, the part that every recording has.
    least = grid[0] if codes.mask is None else int(codes.mask.sum(1).min())
    if len(grid) == 1 and least > 1:
        half = Codes(codes.indices[:, :, : least // 2])
        gone_on = prior.generate((least,), condition, prefix=half, count=count)
        shown += spoken(codec, gone_on, voice, name="gone-on")
    return shown
