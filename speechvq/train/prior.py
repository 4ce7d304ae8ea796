"""Training a prior on the codes of a codec that is finished: the codec listens, the prior learns.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 3.2). The codec hears every
recording once, whole, before the first step; what a batch holds in place of a signal are crops of codes. Or
it listens to each batch anew, see `speechvq.train.soft`.
"""

import importlib
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import BadSetting
from speechvq.prior import Prior
from speechvq.prior.residual import ResidualPrior
from speechvq.train.fitting import Teller, build_prior, lend
from speechvq.train.objective import Objective, Outcome
from speechvq.train.settings import Settings
from speechvq.train.soft import Soft, teach
from speechvq.train.task import Data, Task, finished, plan, room_data, warm_start


class PriorObjective(Objective):
    """Nats per code of a prior; the codec stays as it is."""

    def __init__(self, prior: Prior, codec: Codec, soft: Soft | None = None) -> None:
        """The codec is part of the module, so that it moves with it; none of it learns.

        With ``soft`` the batches to learn from are signals, and not codes.
        """
        super().__init__()
        self.prior, self.codec, self.soft = prior, codec.requires_grad_(False), soft

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
        batch = Batch(**parts)
        if self.soft is None:
            return self.judge(self.prior, batch)
        return teach(self.prior, self.codec, batch, self.soft)

    def judge(self, product: nn.Module, batch: Batch) -> Outcome:
        """See `Objective.judge`; the one loss is "prior/nll", nats per code."""
        assert isinstance(product, Prior)
        loss = product.loss(Codes(batch.signal, batch.mask), batch.condition)
        return Outcome(loss, {"prior/nll": loss.detach().float()}, {}, None)


def open_prior(settings: Settings) -> Task:
    """The task of ``model.prior`` over the codes of the codec in ``model.codec``.

    ``model.told`` names what a prior of pictures is told: a view (depth, segmentation, edges, low) with the
    folder of the codec that makes its codes, or what the pictures come with ("label") with null;
    "keypoints" also with a number, the places a side of the square on which the prior is told them.
    ``model.soft`` is that of `speechvq.train.soft`.

    Raises:
        SpeechVQError: of whatever kind; something in the settings or the data cannot be used.
    """
    if unknown := sorted(set(settings.model) - {"prior", "codec", "told", "soft"}):
        raise BadSetting(f"the model of a prior is its prior and a finished codec's folder, not {unknown[0]}")
    if not settings.model.get("codec"):
        raise BadSetting("whose codes? give model.codec=FOLDER, the folder of a finished codec")
    codec = finished(settings.model["codec"], settings.room)
    soft, told = Soft.of(settings.model.get("soft")), _told(settings)
    corpus, board = room_data(settings)
    prior = build_prior(settings.model["prior"], codec, corpus, told)
    if getattr(prior, "labels", ()):
        told["label"] = None
    if isinstance(prior, ResidualPrior) and prior.told.words:
        told["text"] = None
    codecs = {name: one if isinstance(one, Codec) else None for name, one in told.items()}
    facts = plan(codec) | {"data": str(corpus)}
    facts["prior"] = f"{prior.spec['name']}, {sum(p.numel() for p in prior.parameters()):,} parameters"
    if told:
        facts["is told"] = ", ".join(told)
    if settings.init_from:
        facts["begins with"] = warm_start(prior, settings.init_from)
        lend(prior, codec)
    facts["objective"] = f"nats per code ({math.log(codec.quantizer.codebook_size):.3f} for a blind guess)"
    if soft.temperature:
        soft.check(prior, codec, codecs)
        facts["is taught"] = str(soft)
    train, valid = _data(settings, corpus, codec, prior, codecs, fresh=bool(soft.temperature))
    if isinstance(prior, ResidualPrior) and "text" in told:
        for part in (train, valid):  # what is wrong with them is said now
            if coded := getattr(part, "condition", None):
                prior.text_of(coded, len(part))
    media = partial(_dreams, codec, board.made_up)
    objective = PriorObjective(prior, codec, soft if soft.temperature else None)
    return Task(objective, train, valid, media, None, facts)


def _told(settings: Settings) -> dict[str, Teller]:
    """What ``model.told`` names."""
    named, found = settings.model.get("told") or {}, dict[str, Teller]()
    if not isinstance(named, Mapping):
        raise BadSetting(f"model.told is {named}; give model.told.NAME=FOLDER, or =null of a label")
    for name, said in named.items():
        counted = name == "keypoints" and type(said) is int and said > 1
        if not (said is None or isinstance(said, str) or counted):
            wanted = "places a side, at least 2," if name == "keypoints" else "a codec's FOLDER"
            raise BadSetting(f"model.told.{name} is {said}; give {wanted} or null")
        found[str(name)] = finished(said, settings.room) if isinstance(said, str) else said
    return found


def _data(
    settings: Settings,
    corpus: Any,
    codec: Codec,
    prior: Prior,
    told: Mapping[str, Codec | None],
    *,
    fresh: bool,
) -> tuple[Data, Data]:
    """Codes to learn from and held-out ones; what to learn from are signals if ``fresh``."""
    open_codes = importlib.import_module(f"speechvq.{settings.room}.coded").open_codes
    splits = ("valid",) if fresh else ("train", "valid")
    asked = {"told": told, "voices": prior.speakers, "device": settings.runtime.device}
    codes = open_codes(corpus, codec, splits, **asked)
    if not fresh:
        return codes["train"], codes["valid"]
    voices = prior.speakers or codec.decoder.speakers
    train = corpus.split("train", hop=codec.encoder.hop, speakers=voices)
    if not len(train):
        raise BadSetting("there is nothing to train on of a voice that the codec and the prior know")
    return train, codes["valid"]


def _dreams(codec: Codec, show: Any, prior: nn.Module, batch: Batch, *, most: int = 4) -> list[Any]:
    """New codes on the batch's grid and, where the prior can, its own gone on with after half of it."""
    assert isinstance(prior, Prior)
    signal, mask = batch.signal[:most], None if batch.mask is None else batch.mask[:most]
    codes = codec.encode(signal, mask) if signal.is_floating_point() else Codes(signal, mask)
    condition, count = {n: values[:most] for n, values in batch.condition.items()}, len(codes.indices)
    grid = tuple(codes.indices.shape[2:])
    if codec.decoder.speakers:
        # The prior counts its own speakers, the codec all of its voices.
        rows = [codec.decoder.speakers.index(name) for name in prior.speakers or codec.decoder.speakers]
        voice = {"speaker": torch.tensor(rows, device=codes.indices.device)[condition["speaker"]]}
    else:
        voice = {}
    shown = show(codec, prior.generate(grid, condition, count=count), voice)
    # Of a padded batch, the part that every recording has.
    least = (
        grid[0] if codes.mask is None else int(codes.mask.any(tuple(range(2, codes.mask.dim()))).sum(1).min())
    )
    if least > 1 and prior.goes_on:
        half = Codes(codes.indices[:, :, : least // 2])
        gone_on = prior.generate((least, *grid[1:]), condition, prefix=half, count=count)
        shown += show(codec, gone_on, voice, name="gone-on")
    return shown
