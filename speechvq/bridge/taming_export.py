"""Our VQGANs and transformers as checkpoints and yamls of CompVis/taming-transformers.

The reverse of `speechvq.bridge.taming`, bit for bit. Made anew are masks, orders of places, and the random
colours ("colorize") in which the published code shows segmentations.
"""

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from speechvq.bridge import taming_prior, taming_vqgan
from speechvq.bridge.checkpoint import Tensors, write_checkpoint
from speechvq.bridge.places import take, under
from speechvq.bridge.taming import KIND, Net2Net
from speechvq.bridge.taming_buffers import mask, shuffles
from speechvq.bridge.taming_config import ORDERS, TRANSFORMER
from speechvq.bridge.taming_names import COND, FIRST, GPT, codec_name, codec_places, mask_names, prior_places
from speechvq.codec import Codec
from speechvq.errors import BadSetting
from speechvq.prior.gpt import GPTPrior

LEFT = ("pool", "codebook.use", "codebook.counts", "codebook.sums", "codebook.steps", "step")
"""State of a quantizer's training, which the published ones have not."""


def export_taming(
    model: Codec | Net2Net,
    path: str | Path,
    *,
    config: str | Path | None = None,
    step: int = 0,
    force: bool = False,
) -> None:
    """Write a checkpoint that the published code loads.

    Args:
        model: an imported one, or one with the same parts.
        path: the file, ``last.ckpt``.
        config: also write the yaml of its model.
        step: training steps that the file tells.
        force: replace files that are there.

    Raises:
        BadSetting: the model has other parts.
        WouldOverwrite: a file is there and not ``force``.
    """
    tensors, told = _vqgan(model) if isinstance(model, Codec) else _net2net(model)
    content = {"epoch": 0, "global_step": step, "state_dict": tensors}
    text = OmegaConf.to_yaml({"model": {"base_learning_rate": 4.5e-6} | told})
    write_checkpoint(path, content, beside=config, text=text, force=force)


def _vqgan(codec: Codec, prefix: str = "") -> tuple[Tensors, dict[str, Any]]:
    """Its tensors and its part of the yaml."""
    _check_codec(codec)
    tensors, told = take(codec, under(prefix, codec_places(codec))), taming_vqgan.official(codec)
    if classes := told["params"].get("colorize_nlabels"):
        colours = torch.randn(3, classes, 1, 1, generator=torch.Generator().manual_seed(0))
        tensors[prefix + "colorize"] = colours
    return tensors, told


def _net2net(model: Net2Net) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of all its parts, and the yaml."""
    prior = model.prior
    _check_prior(model)
    tensors, first = _vqgan(model.codec, FIRST)
    stages: dict[str, Any] = {"first_stage_config": first}
    if model.condition is not None:
        own, stages["cond_stage_config"] = _vqgan(model.condition, COND)
        tensors |= own
    elif prior.given and prior.given[0].kind == "map":
        stages["cond_stage_config"] = "__is_first_stage__"
        tensors |= {COND + name.removeprefix(FIRST): tensor for name, tensor in tensors.items()}
    tensors |= take(prior, under(GPT, prior_places(prior)))
    seen = mask(prior.net.depth.reach, prior.reading.unmasked)
    tensors |= {name: seen.clone() for name in mask_names(prior.net.depth.layers)}
    tensors |= shuffles(prior.reading.order, prior.reading.window)
    return tensors, {"target": TRANSFORMER, "params": taming_prior.official(prior, stages)}


def _check_codec(codec: Codec) -> None:
    """Raise `BadSetting` unless the published VQGAN has the same parts."""
    names = [codec.config[part]["name"] for part in ("encoder", "decoder", "quantizer")]
    strange = [
        own
        for own in codec.state_dict()
        if codec_name(own) is None and not own.removeprefix("quantizer.").startswith(LEFT)
    ]
    space = codec.config["quantizer"].get("space") or {}
    same = names in (["vqgan", "vqgan", "vector"], ["vqgan", "vqgan", "gumbel"])
    same = same and getattr(codec.encoder, "widths", None) == getattr(codec.decoder, "widths", None)
    if not same or strange or space.get("metric", "euclidean") != "euclidean":
        raise BadSetting(
            f"this codec has other parts than the VQGAN of {KIND}: that needs an encoder and a decoder "
            "'vqgan' of one size, and a quantizer 'vector' in the space of its vectors, or 'gumbel'"
        )


def _check_prior(model: Net2Net) -> None:
    """Raise `BadSetting` unless the published transformer has the same parts."""
    prior, orders = model.prior, ORDERS.values()
    told = model.codec if model.condition is None else model.condition
    alike = (
        isinstance(prior, GPTPrior)
        and prior.reading.vocabulary > 0
        and prior.num_codebooks == 1
        and len(prior.given) < 2
        and all(
            one.num_codebooks == 1 and (one.kind != "map" or one.size == told.quantizer.codebook_size)
            for one in prior.given
        )
        and prior.reading.order in orders
        and prior.net.places is not None
        and not prior.net.depth.inner
    )
    if not alike:
        raise BadSetting(
            f"this prior has other parts than the transformer of {KIND}: that needs one codebook, one table "
            "of tokens (reading.vocabulary), learned positions, at most one condition (a map being codes of "
            f"its codec), and one of the orders {', '.join(orders)}"
        )
