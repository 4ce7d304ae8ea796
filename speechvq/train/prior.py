"""Training a prior on the codes of a codec that is finished: the codec listens, the prior learns.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 3.2). The codec hears every
recording once, whole, before the first step; what a batch holds in place of a signal are crops of codes.
"""

import importlib
import math
from collections.abc import Mapping
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

    ``model.told`` names what a prior of pictures is told: a view (depth, segmentation, edges, low) with the
    folder of the codec that makes its codes, or what the pictures come with ("label") with null.

    Raises:
        SpeechVQError: of whatever kind; something in the settings or the data cannot be used.
    """
    if unknown := sorted(set(settings.model) - {"prior", "codec", "told"}):
        raise BadSetting(f"the model of a prior is its prior and a finished codec's folder, not {unknown[0]}")
    if not settings.model.get("codec"):
        raise BadSetting("whose codes? give model.codec=FOLDER, the folder of a finished codec")
    codec = _finished(settings.model["codec"], settings.room)
    folders = settings.model.get("told") or {}
    if not isinstance(folders, Mapping):
        raise BadSetting(f"model.told is {folders}; give model.told.NAME=FOLDER, or =null of a label")
    told = {str(name): folder and _finished(folder, settings.room) for name, folder in folders.items()}
    corpus, board = room_data(settings)
    prior = build_prior(settings.model["prior"], codec, corpus, told)
    if getattr(prior, "labels", ()):
        told["label"] = None
    facts = plan(codec) | {"data": str(corpus)}
    facts["prior"] = f"{prior.spec['name']}, {sum(p.numel() for p in prior.parameters()):,} parameters"
    if told:
        facts["is told"] = ", ".join(told)
    if settings.init_from:
        facts["begins with"] = warm_start(prior, settings.init_from)
    facts["objective"] = f"nats per code ({math.log(codec.quantizer.codebook_size):.3f} for a blind guess)"
    use_gpu = settings.runtime.accelerator != "cpu" and torch.cuda.is_available()
    open_codes = importlib.import_module(f"speechvq.{settings.room}.coded").open_codes
    asked = {"told": told, "voices": prior.speakers, "device": "cuda" if use_gpu else "cpu"}
    codes = open_codes(corpus, codec, ("train", "valid"), **asked)
    media = partial(_dreams, codec, board.made_up)
    return Task(PriorObjective(prior, codec), codes["train"], codes["valid"], media, None, facts)


def build_prior(
    spec: Mapping[str, Any], codec: Codec, corpus: Any, told: Mapping[str, Codec | None] | None = None
) -> Prior:
    """The prior of ``spec`` for this codec's codes.

    Args:
        spec: its name and settings; ``speakers: auto`` are the codec's voices that there is data of,
            ``labels: auto`` the classes of the data.
        codec: finished.
        corpus: the data.
        told: what else it is told, see `open_prior`.

    Raises:
        UnknownName: a speaker that the codec does not know, and so could not speak for the prior.
        BadSetting: the data has no classes to tell.
    """
    values = dict(spec)
    if values.get("speakers") == "auto":
        values["speakers"] = [name for name in codec.decoder.speakers if name in corpus.speakers]
    for name in values.get("speakers") or ():
        if name not in codec.decoder.speakers:
            raise UnknownName("voice of the codec", str(name), list(codec.decoder.speakers))
    if values.get("labels") == "auto":
        values["labels"] = _classes(corpus)
    if told and "labels" not in values:
        if values.get("given"):
            raise BadSetting("say what the prior is told in model.told or in model.prior.given, not in both")
        values["given"] = [_given(name, other, corpus) for name, other in told.items()]
    quantizer = codec.quantizer
    return PRIORS.build(
        values,
        codebook_size=quantizer.codebook_size,
        num_codebooks=quantizer.num_codebooks,
        codec=codec.fingerprint,
    )


def _finished(folder: str | Path, room: str) -> Codec:
    """The codec in a folder, if it is of the run's room."""
    codec = Codec.from_pretrained(Path(folder))
    if codec.room != room:
        raise BadSetting(f"the codec in {folder} is of room {codec.room}, and this run of room {room}")
    return codec


def _classes(corpus: Any, name: str = "label") -> list[str]:
    if not (found := getattr(corpus, "names", {}).get(name)):
        there = getattr(corpus, "conditions", ())
        if name != "label" and name not in there:
            raise BadSetting(
                f"the examples have no {name}; they have {', '.join(there) or 'nothing else'} "
                f"(of a view, give the codec: model.told.{name}=FOLDER)"
            )
        if name != "label":
            raise BadSetting(f"whose codes of {name}? give model.told.{name}=FOLDER, its finished codec")
        raise BadSetting("this data has no classes to tell the prior; leave labels out")
    return list(found)


def _given(name: str, other: Codec | None, corpus: Any) -> dict[str, Any]:
    """A condition of the GPT prior, see `speechvq.prior.conditions.Given`."""
    if other is None:
        names = _classes(corpus, name)
        return {"name": name, "kind": "label", "size": len(names), "names": names}
    quantizer = other.quantizer
    sizes = {"size": quantizer.codebook_size, "num_codebooks": quantizer.num_codebooks}
    return {"name": name, "kind": "map", "codec": other.fingerprint} | sizes


def _dreams(codec: Codec, show: Any, prior: nn.Module, batch: Batch, *, most: int = 4) -> list[Any]:
    """New codes on the batch's grid and, where the prior can, its own gone on with after half of it."""
    assert isinstance(prior, Prior)
    codes = Codes(batch.signal[:most], None if batch.mask is None else batch.mask[:most])
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
