"""RQ-VAE and RQ-Transformer as published by kakaobrain/rq-vae-transformer: checkpoints become ours.

Lee et al., "Autoregressive Image Generation using Residual Quantization" (2022). A file holds one of both;
the yaml "config.yaml" beside it says which, and what tensors do not tell. Every tensor has one place in
ours, or is a copy of one that has. Optimisers and schedules are left out; `import_critic` takes the
discriminator, if there is one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechvq.bridge.checkpoint import Tensors, open_checkpoint, part_of, remedy
from speechvq.bridge.rqvae_arch import KIND
from speechvq.bridge.rqvae_arch import TYPE as TRANSFORMER
from speechvq.bridge.rqvae_codec import read_codec
from speechvq.bridge.rqvae_config import TYPE, read_config, read_stack
from speechvq.bridge.rqvae_prior import import_rqvae_prior
from speechvq.bridge.taming import critic_of
from speechvq.codec import Codec
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.nets.patch_critic import PatchCritic
from speechvq.prior.residual import ResidualPrior
from speechvq.quantize import ResidualQuantizer
from speechvq.quantize.codebook import Codebook

CONFIG = "config.yaml"
"""What the yaml beside a checkpoint is called."""
REMEDY = remedy("model.pt")


def import_rqvae(
    path: str | Path,
    *,
    config: str | Path | None = None,
    codec: Codec | str | Path | None = None,
    averaged: bool = False,
) -> Codec | ResidualPrior:
    """The model of a published checkpoint, in evaluation mode.

    Args:
        path: ``model.pt``, an RQ-VAE or an RQ-Transformer.
        config: its yaml; the ``config.yaml`` beside it unless given. An RQ-VAE can do without.
        codec: of an RQ-Transformer, that of its RQ-VAE or its folder.
        averaged: take the weights' moving averages, if the file has them.

    Raises:
        BadCheckpoint: it is not such a checkpoint, it is damaged, or the yaml is that of another.
        BadSetting: there is no codec for an RQ-Transformer, or one for an RQ-VAE.
    """
    beside = Path(path).parent / CONFIG
    config = beside if config is None and beside.is_file() else config
    told = None if config is None else read_config(config)
    checkpoint = open_checkpoint(path, kind=KIND, remedy=REMEDY)
    part = "state_dict_ema" if averaged else "state_dict"
    tensors = part_of(checkpoint, part, path=path, kind=KIND)
    found = TRANSFORMER if any(name.startswith("body_transformer.") for name in tensors) else TYPE
    if told is not None and told["arch"]["type"] != found:
        raise BadCheckpoint(
            f"{config} is not of the type {found!r}, as {path} is; give the yaml it came with"
        )
    if found == TRANSFORMER:
        return _transformer(tensors, told, codec, path)
    if codec is not None:
        raise BadSetting(f"{path} is an RQ-VAE, which needs no other codec; leave it out")
    return read_codec(tensors, None if told is None else read_stack(told, path=str(config)), path=path)


def import_critic(path: str | Path) -> PatchCritic:
    """The discriminator that an RQ-VAE was trained against, in evaluation mode.

    Raises:
        BadCheckpoint: it is not such a checkpoint, or came without it.
    """
    checkpoint = open_checkpoint(path, kind=KIND, remedy=REMEDY)
    return critic_of(part_of(checkpoint, "discriminator", path=path, kind=KIND), path=path)


def _transformer(
    tensors: Tensors, told: Mapping[str, Any] | None, codec: Codec | str | Path | None, path: str | Path
) -> ResidualPrior:
    """The prior of an RQ-Transformer, which looks up codes in the codebooks of its RQ-VAE."""
    if told is None:
        raise BadCheckpoint(f"{path} is an RQ-Transformer, of which tensors do not tell all: give its yaml")
    if codec is None:
        raise BadSetting(
            f"{path} is an RQ-Transformer, which needs the codebook of its RQ-VAE: import that, and give the "
            "folder (--codec)"
        )
    codec = codec if isinstance(codec, Codec) else Codec.from_pretrained(codec)
    if not isinstance(codec.quantizer, ResidualQuantizer):
        raise BadSetting(f"the codec of {path} must be an RQ-VAE, with a residual quantizer")
    books = [book for book in codec.quantizer.codebooks if isinstance(book, Codebook)]
    vectors = torch.stack([book.codes().detach() for book in books])
    return import_rqvae_prior(tensors, told, vectors=vectors, codec=codec.fingerprint, path=path)
