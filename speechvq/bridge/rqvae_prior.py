"""RQ-Transformers as published by kakaobrain/rq-vae-transformer: their tensors in and out, key for key.

"Autoregressive Image Generation using Residual Quantization" (Lee et al. 2022). Names differ, and three
shapes: positions have an axis of batches, queries, keys and values, which are one layer here, are three
there, and classifiers of their own for each depth lie the other way round. What is looked up of a code is
the codebook of the RQ-VAE, which the file has not. How many heads the attention has and how long the sides
of the grid are cannot be seen in the tensors: the yaml says it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from speechvq.bridge.checkpoint import Tensors, check_names, size_of
from speechvq.bridge.places import Place, Places, fill, take
from speechvq.bridge.rqvae_arch import KIND, Arch, check_sizes, official_arch, read_arch
from speechvq.bridge.taming_names import BLOCK, looks, renamed
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import Sizes, Told

_RULES = (
    (r"^(begin|label\.table)\.", "cond_emb."),
    (r"^net\.at_begin$", "pos_emb_cond"),
    (r"^net\.at_place$", "pos_emb_hw"),
    (r"^net\.at_depth$", "pos_emb_d"),
    (r"^net\.enter\.", "input_mlp."),
    (r"^net\.descend\.", "head_mlp."),
    (r"^net\.places\.", "body_transformer.blocks."),
    (r"^net\.depths\.", "head_transformer.blocks."),
    *BLOCK,
    (r"^last\.", "classifier.layer_norm."),
    (r"^leave\.", "classifier.linear."),
    (r"^spell\.0\.", "cond_classifier.layer_norm."),
    (r"^spell\.1\.", "cond_classifier.linear."),
)
_CLASSIFIER = "classifier.linear.weight"


def import_rqvae_prior(
    tensors: Tensors,
    config: Mapping[str, Any],
    *,
    vectors: Tensor,
    labels: Sequence[str] = (),
    codec: str = "",
    path: str | Path = "the checkpoint",
) -> ResidualPrior:
    """The prior of a published RQ-Transformer, in evaluation mode.

    Args:
        tensors: its ``state_dict``, or ``state_dict_ema``.
        config: what its yaml says, with the part "arch".
        vectors: of the codebooks of its RQ-VAE, (Q, C) or (1 or K, Q, C).
        labels: names of the classes, in the order of their rows; their numbers if none are given.
        codec: fingerprint of its RQ-VAE's codec.
        path: of the file, for the sentences.

    Raises:
        BadCheckpoint: it is no such transformer, or the yaml or the codebook is that of another.
        BadSetting: there are other labels than classes.
    """
    prior = _empty(tensors, config, vectors=vectors, labels=labels, codec=codec, path=path)
    places = prior_places(prior)
    check_names(tensors, places, path=path, hint=f"this is no RQ-Transformer of {KIND} as its yaml says")
    fill(prior, _turned(tensors), _turned_places(places), path=path)
    try:
        prior.take(vectors)
    except BadSetting as error:
        raise BadCheckpoint(f"{path}: {error}; give the codec of its RQ-VAE") from error
    return prior.eval()


def export_rqvae_prior(prior: ResidualPrior) -> tuple[Tensors, dict[str, Any]]:
    """The reverse: the ``state_dict``, bit for bit, and the "arch" of its yaml.

    Raises:
        BadSetting: the published code has no such transformer.
    """
    net, told = prior.net, prior.told
    hidden = told.blind and prior.labels  # a row of the table stands for no class
    if len(prior.grid) != 2 or net.enter is None or prior.speakers or hidden or len(prior.labels) == 1:
        raise BadSetting(
            f"this prior has other parts than the RQ-Transformer of {KIND}: that needs a learned grid of "
            "rows and columns, the vectors of a codec, no speakers, and no class or several that training "
            "never hid (told.blind=0)"
        )
    words = len(prior.labels) or told.words or 1
    length = told.length if told.words else 1
    rows, columns = prior.grid
    size = prior.size
    arch = Arch((rows, columns), prior.num_codebooks, size.heads, words, length, size.dropout)
    sizes = {"vocab_size": prior.codebook_size, "embed_dim": size.width, "input_embed_dim": prior.channels}
    shared = size.classifiers == "one"
    told_arch = official_arch(arch, sizes, layers=(size.places, size.depths), shared=shared)
    places = prior_places(prior)
    tensors = take(prior, _turned_places(places))
    if tensors[_CLASSIFIER].dim() == 3:
        tensors[_CLASSIFIER] = tensors[_CLASSIFIER].transpose(1, 2).contiguous()
    return tensors, told_arch


def prior_places(prior: ResidualPrior) -> Places:
    """Their names of all tensors of a transformer, to their places in a prior."""
    places: Places = {}
    for own, tensor in prior.state_dict().items():
        if own == "vectors":
            continue
        theirs, shape = renamed(own, _RULES), tuple(tensor.shape)
        if thirds := looks(own, theirs, shape):
            places |= thirds
        elif theirs.startswith("pos_emb"):
            places[theirs] = Place(own, (1, *shape))
        elif own.startswith("leave.") and prior.size.classifiers == "own":
            depth, codes, rest = prior.num_codebooks, prior.codebook_size, shape[1:]
            places[theirs] = Place(own, (depth, *rest, codes))
        else:
            places[theirs] = Place(own, shape)
    return places


def _empty(
    tensors: Tensors,
    config: Mapping[str, Any],
    *,
    vectors: Tensor,
    labels: Sequence[str],
    codec: str,
    path: str | Path,
) -> ResidualPrior:
    """A prior of the sizes of the tensors; its weights are yet to come."""
    arch = read_arch(config, path=path)
    for name in ("input_mlp.weight", _CLASSIFIER):
        if name not in tensors:
            raise BadCheckpoint(f"{path} has no {name!r}: it is no RQ-Transformer of {KIND}")
    width, channels = (size_of(tensors, "input_mlp.weight", axis, dims=2, path=path) for axis in (0, 1))
    own = tensors[_CLASSIFIER].dim() == 3
    codes = size_of(tensors, _CLASSIFIER, 2 if own else 0, dims=2 + own, path=path)
    blocks = [
        len({name.split(".")[2] for name in tensors if name.startswith(f"{stack}_transformer.blocks.")})
        for stack in ("body", "head")
    ]
    text, kind = arch.length > 1, "own" if own else "one"
    if labels and (text or len(labels) != arch.words):
        raise BadSetting(f"{len(labels)} labels are given, but {path} knows {0 if text else arch.words}")
    if arch.words > 1 and not text and not labels:
        labels = [str(row) for row in range(arch.words)]
    found = {"embed_dim": width, "input_embed_dim": channels, "vocab_size": codes}
    check_sizes(config, found | {"body.n_layer": blocks[0], "head.n_layer": blocks[1]}, path=path)
    try:
        return ResidualPrior(
            codes, num_codebooks=arch.depth, grid=arch.grid, channels=channels, codec=codec,
            size=Sizes(blocks[0], blocks[1], width, arch.heads, dropout=arch.dropout, classifiers=kind),
            shared=vectors.dim() == 2 or bool((vectors == vectors[:1]).all()), labels=tuple(labels),
            told=Told(arch.words, arch.length) if text else Told(),
        )  # fmt: skip
    except BadSetting as error:
        raise BadCheckpoint(f"{path} has sizes that no RQ-Transformer has: {error}") from error


def _turned(tensors: Tensors) -> Tensors:
    """The same with outputs before inputs in classifiers of their own for each depth."""
    weight = tensors[_CLASSIFIER]
    return tensors | {_CLASSIFIER: weight.transpose(1, 2)} if weight.dim() == 3 else tensors


def _turned_places(places: Places) -> Places:
    """Where the tensors of `_turned` lie."""
    place = places[_CLASSIFIER]
    if len(place.shape) != 3:
        return places
    depth, inputs, outputs = place.shape
    return places | {_CLASSIFIER: Place(place.own, (depth, outputs, inputs))}
