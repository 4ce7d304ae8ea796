"""Our RQ-VAEs and RQ-Transformers as checkpoints and yamls of kakaobrain/rq-vae-transformer.

The reverse of `speechvq.bridge.rqvae`, bit for bit. Made anew are the row of zeros behind each codebook and
the names under which a shared codebook comes once a depth.
"""

import re
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from speechvq.bridge.checkpoint import Tensors, write_checkpoint
from speechvq.bridge.places import take
from speechvq.bridge.rqvae_arch import KIND
from speechvq.bridge.rqvae_codec import codec_places
from speechvq.bridge.rqvae_config import Stack, official_config
from speechvq.bridge.rqvae_names import book_name, codec_name
from speechvq.bridge.rqvae_prior import export_rqvae_prior
from speechvq.codec import Codec
from speechvq.errors import BadSetting
from speechvq.image.vqgan import VQGANDecoder, VQGANEncoder
from speechvq.prior.base import Prior
from speechvq.prior.residual import ResidualPrior

_LEFT = re.compile(r"^quantizer\.(pool\.|codebooks\.\d+\.use$)")
"""State of a quantizer's training, which the published ones have not."""


def export_rqvae(
    model: Codec | Prior,
    path: str | Path,
    *,
    config: str | Path | None = None,
    epoch: int = 0,
    force: bool = False,
) -> None:
    """Write a checkpoint that the published code loads.

    Args:
        model: an imported one, or one with the same parts.
        path: the file, ``model.pt``.
        config: also write its yaml, which the published code reads from ``config.yaml`` beside it.
        epoch: that the file tells.
        force: replace files that are there.

    Raises:
        BadSetting: the model has other parts.
        WouldOverwrite: a file is there and not ``force``.
    """
    if isinstance(model, Codec):
        tensors, told = _codec(model)
    elif isinstance(model, ResidualPrior):
        tensors, arch = export_rqvae_prior(model)
        told = {"arch": arch}
    else:
        raise BadSetting(f"this prior is none of the kind 'residual', which {KIND} has")
    content = {"epoch": epoch, "state_dict": tensors}
    write_checkpoint(path, content, beside=config, text=OmegaConf.to_yaml(told), force=force)


def _codec(codec: Codec) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of an RQ-VAE, with copies and rows of padding, and its yaml."""
    encoder, decoder, spec = codec.encoder, codec.decoder, codec.config["quantizer"]
    if not (
        isinstance(encoder, VQGANEncoder)
        and isinstance(decoder, VQGANDecoder)
        and (encoder.widths, encoder.fold) == (decoder.widths, decoder.fold)
        and _alike(codec)
    ):
        raise BadSetting(
            f"this codec has other parts than the RQ-VAE of {KIND}: that needs an encoder and a decoder "
            "'vqgan' of pictures and of one size, and a quantizer 'residual' in the space of its vectors "
            "that learns by 'ema'"
        )
    depth, learning = spec["num_codebooks"], spec["learning"]
    stack = Stack(
        depth=depth,
        fold=encoder.fold,
        shared=spec["shared"],
        decay=learning["decay"],
        commitment=learning["commitment"],
        error=decoder.loss.error,
        restarts=spec["revival"]["threshold"] > 0,
    )
    tensors = take(codec, codec_places(codec))
    for d in range(1 if stack.shared else depth):
        codes = tensors[book_name(d, "weight")]
        tensors[book_name(d, "weight")] = torch.cat([codes, codes.new_zeros(1, codes.shape[1])])
    first = book_name(0, "")
    for name in [name for name in tensors if stack.shared and name.startswith(first)]:
        # The same tensors, not copies: a file holds them once.
        leaf = name.removeprefix(first)
        tensors |= {book_name(d, leaf): tensors[name] for d in range(1, depth)}
    size = {"codes": spec["codebook_size"], "dim": encoder.dim // encoder.fold**2}
    return tensors, official_config(encoder.widths, stack, **size)


def _alike(codec: Codec) -> bool:
    """Whether the published RQ-VAE has the same quantizer, and a decoder of pictures."""
    decoder, spec = (codec.config[part] for part in ("decoder", "quantizer"))
    strange = [own for own in codec.state_dict() if codec_name(own) is None and not _LEFT.match(own)]
    return (
        not strange
        and decoder["loss"]["kind"] == "picture"
        and spec["name"] == "residual"
        and spec["space"]["metric"] == "euclidean"
        and (spec["learning"]["by"], spec["learning"]["scaling"]) == ("ema", "mean")
    )
