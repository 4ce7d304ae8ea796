"""Fitting a prior to a codec and data: alphabet, grid and names, and the vectors of the codec's codebooks.

"auto" in the settings of a prior stands for what the codec and the data say.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from speechvq.codec import Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.prior import PRIORS, Prior
from speechvq.prior.residual import ResidualPrior
from speechvq.quantize import Quantizer, ResidualQuantizer, VectorQuantizer
from speechvq.quantize.codebook import Codebook

LATTICE = 32
"""Places a side of the square that keypoints lie on, unless the settings say how many."""

type Teller = Codec | int | None
"""By what something is told: the codes of a codec, so many places a side (keypoints), or as it comes."""


def build_prior(
    spec: Mapping[str, Any], codec: Codec, corpus: Any, told: Mapping[str, Teller] | None = None
) -> Prior:
    """The prior of ``spec`` for this codec's codes.

    Args:
        spec: its name and settings; ``speakers: auto`` are the codec's voices that there is data of,
            ``labels: auto`` the classes of the data, ``grid: auto`` that of its codes, and ``channels: auto``
            and ``shared: auto`` those of the codec's codebooks.
        codec: finished.
        corpus: the data.
        told: what else it is told, see `open_prior`.

    Raises:
        UnknownName: a speaker that the codec does not know, and so could not speak for the prior.
        BadSetting: the data has no classes to tell, the prior is not told such a thing or would not listen,
            its grid is smaller than that of the data's codes, or see `lend`.
    """
    values, quantizer = dict(spec), codec.quantizer
    for name, found in _found(codec, corpus).items():
        if values.get(name) == "auto":
            values[name] = found()
    for name in values.get("speakers") or ():
        if name not in codec.decoder.speakers:
            raise UnknownName("voice of the codec", str(name), list(codec.decoder.speakers))
    if told and "text" in told:
        raise BadSetting(
            "a text is told to the prior residual alone, by model.prior.told.words and its length; leave "
            "model.told.text out"
        )
    if told and "labels" in values:
        if others := sorted(set(told) - {"label"}):
            raise BadSetting(f"the prior {values.get('name')} is not told {others[0]}; the prior gpt can be")
        if not values["labels"]:
            raise BadSetting(
                "model.told.label is to tell the class, but the prior has no labels; give "
                "model.prior.labels=auto, or leave model.told out"
            )
    elif told:
        if values.get("given"):
            raise BadSetting("say what the prior is told in model.told or in model.prior.given, not in both")
        values["given"] = [_given(name, other, corpus) for name, other in told.items()]
    prior = PRIORS.build(
        values,
        codebook_size=quantizer.codebook_size,
        num_codebooks=quantizer.num_codebooks,
        codec=codec.fingerprint,
    )
    lend(prior, codec)
    if isinstance(prior, ResidualPrior) and prior.grid:
        prior.net.positions(_grid(codec, corpus))  # said now, not at the first batch that is too large
    return prior


def lend(prior: Prior, codec: Codec) -> None:
    """Give a prior that reads the vectors of a codec's codebooks those of this one.

    Raises:
        BadSetting: they are of another shape than the prior's, or codes do not stand for vectors that are
            summed up.
    """
    if isinstance(prior, ResidualPrior) and prior.channels:
        if (vectors := code_vectors(codec.quantizer)) is None:
            raise BadSetting(
                f"the codes of {type(codec.quantizer).__name__} are no vectors to be summed up; "
                "give model.prior.channels=0, and the prior learns its own"
            )
        prior.take(vectors)


def code_vectors(quantizer: Quantizer) -> Tensor | None:
    """The vectors (V, Q, C) whose sum over depths is what a stack of codebooks says, V 1 if they share one.

    C are the channels in which codes are compared. None of quantizers that are no such stack.
    """
    if isinstance(quantizer, VectorQuantizer):
        books = [quantizer.codebook]
    elif isinstance(quantizer, ResidualQuantizer):
        books = [one for one in quantizer.codebooks if isinstance(one, Codebook)]
    else:
        return None
    return torch.stack([one.codes().detach().float() for one in books])


def _found(codec: Codec, corpus: Any) -> dict[str, Callable[[], Any]]:
    """What "auto" is, of each setting of a prior that may be so."""
    vectors, books = code_vectors(codec.quantizer), codec.quantizer.num_codebooks
    return {
        "speakers": lambda: [name for name in codec.decoder.speakers if name in corpus.speakers],
        "labels": lambda: _classes(corpus),
        "grid": lambda: list(_grid(codec, corpus)),
        "channels": lambda: 0 if vectors is None else vectors.shape[2],
        "shared": lambda: books == 1 if vectors is None else len(vectors) == 1,
    }


def _grid(codec: Codec, corpus: Any) -> tuple[int, ...]:
    """That of the data's codes."""
    return importlib.import_module(f"speechvq.{codec.room}.coded").grid_of(corpus, codec)


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
        raise BadSetting(
            "this data has no classes to tell the prior; give ~model.told (or ~model.told.label) if there is "
            "one, and model.prior.labels=[] if that is auto"
        )
    return list(found)


def _given(name: str, other: Teller, corpus: Any) -> dict[str, Any]:
    """A condition of the GPT prior, see `speechvq.prior.conditions.Given`."""
    if isinstance(other, Codec):
        quantizer = other.quantizer
        sizes = {"size": quantizer.codebook_size, "num_codebooks": quantizer.num_codebooks}
        return {"name": name, "kind": "map", "codec": other.fingerprint} | sizes
    if name == "keypoints" and name in getattr(corpus, "conditions", ()):
        # One integer more, for a point that is not there.
        return {"name": name, "kind": "tokens", "size": (other or LATTICE) ** 2 + 1}
    names = _classes(corpus, name)
    return {"name": name, "kind": "label", "size": len(names), "names": names}
