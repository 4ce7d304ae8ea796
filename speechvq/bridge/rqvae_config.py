"""What the yaml of a published RQ-VAE says, read as plain numbers, and written.

Settings of kakaobrain/rq-vae-transformer (Lee et al. 2022) under "arch". Beside an RQ-Transformer lies a
yaml of the same kind, of another type (`speechvq.bridge.rqvae_arch`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechvq.bridge.rqvae_arch import KIND
from speechvq.bridge.rqvae_arch import TYPE as TRANSFORMER
from speechvq.bridge.taming_config import Target, read_yaml
from speechvq.bridge.taming_vqgan import official_widths
from speechvq.errors import BadCheckpoint
from speechvq.image.widths import Widths

TYPE = "rq-vae"
ERRORS = {"mse": "squared", "l1": "absolute"}
"""Their names of the error of pixels to ours."""


@dataclass(frozen=True)
class Stack:
    """What the "arch" of an RQ-VAE's yaml says besides the widths of its networks."""

    depth: int = 4
    """Codes at each place."""
    fold: int = 1
    """Latents a side of a code."""
    shared: bool = True
    """Whether all depths have one codebook."""
    decay: float = 0.99
    """Of the moving averages."""
    commitment: float = 0.25
    """Its weight."""
    error: str = "squared"
    """Of the pixels: "squared" or "absolute"."""
    restarts: bool = True
    """Whether unused codes are begun anew."""


def read_config(path: str | Path) -> Mapping[str, Any]:
    """The yaml of an RQ-VAE or of an RQ-Transformer.

    Raises:
        BadCheckpoint: it is no such yaml.
    """
    found = read_yaml(path)
    arch = found.get("arch") if isinstance(found, Mapping) else None
    kind = arch.get("type") if isinstance(arch, Mapping) else None
    if not isinstance(found, Mapping) or kind not in (TYPE, TRANSFORMER):
        raise BadCheckpoint(
            f"{path} is no yaml of {KIND}: its arch has the type {kind!r}, not {TYPE!r} or {TRANSFORMER!r}"
        )
    return {str(key): value for key, value in found.items()}


def read_stack(config: Mapping[str, Any], *, path: str | Path) -> tuple[Target, Stack]:
    """What the yaml of an RQ-VAE says: the widths of its networks and its numbers, and of its codes.

    Raises:
        BadCheckpoint: it is of another model, or of one that is not supported.
    """
    arch = config["arch"]
    hparams = arch.get("hparams")
    if not isinstance(hparams, Mapping):
        raise BadCheckpoint(f"{path} has no arch.hparams, which tells the codes")
    if (kind := hparams.get("bottleneck_type", "rq")) != "rq":
        raise BadCheckpoint(f"{path}: bottleneck_type is {kind!r}; only 'rq' is supported")
    latents, codes = (_shape(hparams, f"{name}_shape", path=path) for name in ("latent", "code"))
    rows, columns = ((a // b if a % b == 0 else 0) for a, b in zip(latents[:2], codes[:2], strict=True))
    if not rows or rows != columns:
        raise BadCheckpoint(f"{path}: codes {codes} of latents {latents} are no squares of them")
    alike = {name: _of_all(hparams.get(name), codes[2]) for name in ("n_embed", "decay")}
    told = {**hparams, **{name: value for name, value in alike.items() if value is not None}}
    model = Target(TYPE, {**told, "ddconfig": arch.get("ddconfig")}, path)
    error = hparams.get("loss_type", "mse")
    if error not in ERRORS:
        raise BadCheckpoint(f"{path}: loss_type is {error!r}; known: {', '.join(ERRORS)}")
    flags = [
        hparams.get(name, usual)
        for name, usual in (("shared_codebook", None), ("restart_unused_codes", False))
    ]
    if not all(isinstance(flag, bool) for flag in flags):
        raise BadCheckpoint(f"{path}: shared_codebook and restart_unused_codes should be true or false")
    return model, Stack(
        codes[2],
        rows,
        flags[0],
        model.number("decay", 0.99),
        model.number("latent_loss_weight", 0.25),
        ERRORS[error],
        flags[1],
    )


def official_config(widths: Widths, stack: Stack, *, codes: int, dim: int) -> dict[str, Any]:
    """The reverse, for a yaml; ``codes`` of ``dim`` channels a latent."""
    side = widths.resolution // widths.hop
    hparams = {
        "bottleneck_type": "rq",
        "embed_dim": dim,
        "n_embed": codes,
        "latent_shape": [side, side, dim],
        "code_shape": [side // stack.fold, side // stack.fold, stack.depth],
        "shared_codebook": stack.shared,
        "decay": stack.decay,
        "restart_unused_codes": stack.restarts,
        "loss_type": next(theirs for theirs, ours in ERRORS.items() if ours == stack.error),
        "latent_loss_weight": stack.commitment,
    }
    own = {"type": TYPE, "code_hier": 1, "hparams": hparams, "ddconfig": official_widths(widths)}
    return {"arch": own | {"checkpointing": False}}


def _shape(hparams: Mapping[str, Any], name: str, *, path: str | Path) -> list[int]:
    found = hparams.get(name)
    if not isinstance(found, list) or len(found) != 3 or not all(type(n) is int and n > 0 for n in found):
        raise BadCheckpoint(f"{path}: {name} is {found!r}, not three whole numbers")
    return found


def _of_all(value: Any, depth: int) -> Any:
    """The number of which a list has one a depth, if they are the same; other values as they are."""
    alike = isinstance(value, list) and len(value) == depth and len(set(map(str, value))) == 1
    return value[0] if alike else value
