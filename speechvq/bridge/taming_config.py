"""What the yaml of a published VQGAN or transformer says, read as plain numbers and names.

A yaml of CompVis/taming-transformers names Python classes ("target") with their arguments ("params").
Nothing is imported by those names: they are looked up in the closed tables below, and one that is not there
is refused. What is here knows neither tensors nor our modules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from speechvq.errors import BadCheckpoint

TRANSFORMER = "taming.models.cond_transformer.Net2NetTransformer"
GPT_CLASS = "taming.modules.transformer.mingpt.GPT"
VQGANS = {
    "taming.models.vqgan.VQModel": "vector",
    "taming.models.vqgan.VQNoDiscModel": "vector",
    "taming.models.vqgan.VQSegmentationModel": "vector",
    "taming.models.vqgan.GumbelVQ": "gumbel",
}
"""Models of pictures, and our quantizer of each."""
CONDITIONS = {
    "taming.modules.util.Labelator": "label",
    "taming.modules.util.SOSProvider": "nothing",
    "taming.modules.misc.coord.CoordStage": "coordinates",
    "taming.models.dummy_cond_stage.DummyCondStage": "tokens",
} | dict.fromkeys(VQGANS, "map")
"""What a transformer is told by, and our kind of it."""
WORDS = {"__is_first_stage__": "first stage", "__is_unconditional__": "nothing"}
"""What may stand in place of a class there."""
ORDERS = {
    "taming.modules.transformer.permuter.Identity": "raster",
    "taming.modules.transformer.permuter.Subsample": "subsample",
    "taming.modules.transformer.permuter.ZCurve": "z-curve",
    "taming.modules.transformer.permuter.SpiralOut": "spiral-out",
    "taming.modules.transformer.permuter.SpiralIn": "spiral-in",
    "taming.modules.transformer.permuter.AlternateParsing": "alternate",
}
"""Orders in which the places of a picture are written."""


@dataclass(frozen=True)
class Target:
    """A class and its arguments, as a yaml has them.

    Attributes:
        name: of the class.
        params: its arguments.
        path: the yaml.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    path: str | Path = ""

    def part(self, key: str, known: Iterable[str]) -> "Target":
        """The class that is the argument ``key``.

        Raises:
            BadCheckpoint: it is not there, or none of ``known``.
        """
        return target(self.params.get(key), key, known, path=self.path)

    def number(self, key: str, default: float | None = None) -> Any:
        """The number that is the argument ``key``, or the default; a whole one unless that is a float.

        Raises:
            BadCheckpoint: it is not there and has no default, or is no such number.
        """
        return _number(self.params, key, default, path=self.path)

    def widths(self) -> dict[str, Any]:
        """The arguments "ddconfig" of the networks of a VQGAN, checked to be numbers."""
        found = self.params.get("ddconfig")
        if not isinstance(found, Mapping):
            raise BadCheckpoint(f"{self.path}: {self.name} has no ddconfig, which tells its widths")
        names = ("ch", "num_res_blocks", "resolution", "in_channels", "out_ch", "z_channels")
        sizes = {name: _number(found, name, None, path=self.path) for name in names}
        for name in ("ch_mult", "attn_resolutions"):
            values = found.get(name)
            if not isinstance(values, list) or not all(type(value) is int for value in values):
                raise BadCheckpoint(f"{self.path}: {name} is {values!r}, not a list of whole numbers")
            sizes[name] = tuple(values)
        return sizes | {"dropout": float(_number(found, "dropout", 0.0, path=self.path))}


def read_config(path: str | Path) -> Target:
    """The model of a yaml: a VQGAN or a transformer.

    Raises:
        BadCheckpoint: it is no such yaml, or its class is unknown.
    """
    found = read_yaml(path)
    if not isinstance(found, Mapping):
        raise BadCheckpoint(f"{path} has no model; give the yaml that came with the checkpoint")
    return target(found.get("model"), "model", (TRANSFORMER, *VQGANS), path=path)


def read_yaml(path: str | Path) -> Any:
    """What is in the yaml of a checkpoint, as plain containers.

    Raises:
        BadCheckpoint: it is not there, or is no yaml.
    """
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"{path} is not there; give the yaml that came with the checkpoint")
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise BadCheckpoint(f"{path} is truncated or is not a yaml ({reason})") from error


def target(found: Any, key: str, known: Iterable[str], *, path: str | Path) -> Target:
    """``found`` as a class with arguments.

    Raises:
        BadCheckpoint: it is none, or none of ``known``.
    """
    known = list(known)
    if isinstance(found, str) and found in WORDS and found in known:
        return Target(found, {}, path)
    if not isinstance(found, Mapping) or "target" not in found:
        raise BadCheckpoint(f"{path}: {key} names no class; it should have a target and params")
    name, params = found["target"], found.get("params") or {}
    if name not in known:
        raise BadCheckpoint(
            f"{path}: {key} is of the class {name!r}, which is not known here and was not looked for; "
            f"known: {', '.join(one for one in known if one not in WORDS)}"
        )
    if not isinstance(params, Mapping):
        raise BadCheckpoint(f"{path}: the params of {key} are no mapping")
    return Target(name, params, path)


def _number(values: Mapping[str, Any], key: str, default: float | None, *, path: str | Path) -> Any:
    value = values.get(key, default)
    if value is None:
        raise BadCheckpoint(f"{path} does not say {key}, which the model needs")
    if type(value) is not int and not (isinstance(default, float) and isinstance(value, float)):
        whole = "" if isinstance(default, float) else " whole"
        raise BadCheckpoint(f"{path}: {key} is {value!r}, not a{whole} number")
    return value
