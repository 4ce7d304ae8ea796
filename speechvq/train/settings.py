"""What a run is told: composed from ``configs/`` by Hydra, then checked against dataclasses.

The files hold choices only. A setting's meaning and limits stand beside its owner: here for the run,
in `schedule`, `loop` and `objective` for those, in the tables for encoders, quantizers and decoders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

import speechvq
from speechvq.errors import BadSetting, UnknownName
from speechvq.train.schedule import Optimiser

GROUPS = ("model", "quantizer", "data", "runtime", "experiment")


@dataclass(frozen=True)
class Runtime:
    """How long, how fast and on what a run works, and how often it reports."""

    steps: int = 10_000  # optimiser steps in all; the schedule ends there
    max_minutes: float | None = None  # stop, saved, after so long; a resumed run counts anew
    batch_size: int = 16  # crops a step and accumulation, over all processes together
    accelerator: str = "auto"  # auto, cpu or cuda
    precision: str = "32-true"  # 32-true or bf16-mixed
    workers: int = 0  # processes that load data; 0 loads in between the steps
    threads: int | None = None  # threads of torch on the CPU; null for its own choice
    ema: float = 0.999  # decay of the averaged weights that are judged and exported; 0 for none
    log_every: int = 20  # steps between two lines of figures
    valid_every: int = 500  # steps between two evaluations on the held-out split
    valid_batches: int = 16  # batches of an evaluation, at most
    save_every: int = 500  # steps between two checkpoints
    keep: int = 2  # how many step-N checkpoints stay, beside latest and best
    board_every: int = 0  # steps between sounds and pictures on the board; 0 for none

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "log_every", "valid_every", "valid_batches", "save_every", "keep")
        for name in counts:
            if getattr(self, name) < 1:
                raise BadSetting(f"runtime.{name} is {getattr(self, name)}; give at least 1")
        if self.workers < 0 or self.board_every < 0 or not 0 <= self.ema < 1:
            raise BadSetting("runtime.workers and board_every must be at least 0, ema in [0, 1)")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise BadSetting(f"there is no precision {self.precision!r}; known: 32-true, bf16-mixed")
        if self.accelerator not in ("auto", "cpu", "cuda"):
            raise BadSetting(f"there is no accelerator {self.accelerator!r}; known: auto, cpu, cuda")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise BadSetting(f"runtime.max_minutes is {self.max_minutes}; give more than 0, or null")

    @property
    def device(self) -> str:
        """What is computed on before the first step: "cuda" if it may be and is there, else "cpu"."""
        return "cuda" if self.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Settings:
    """One run."""

    folder: str  # where everything of the run goes
    room: str = "speech"  # the modality
    rate: int = 16_000  # samples per second of the signal
    seed: int = 0  # of weights, order of the data, and noise
    resume: bool = False  # go on from the folder's latest checkpoint, if there is one
    force: bool = False  # replace an earlier run in the folder
    init_from: str | None = None  # a saved model's folder whose weights to begin with, as far as they fit
    model: dict[str, Any] = field(default_factory=dict)  # encoder and decoder, or prior and codec
    quantizer: dict[str, Any] = field(default_factory=dict)  # see `speechvq.quantize`
    data: dict[str, Any] = field(default_factory=dict)  # the room's settings of its data
    objective: dict[str, Any] = field(default_factory=dict)  # see `speechvq.train.objective`
    optimiser: Optimiser = field(default_factory=Optimiser)
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        if self.resume and self.force:
            raise BadSetting("resume=true goes on with a run and force=true replaces it; give one of them")
        if self.seed < 0:
            raise BadSetting(f"the seed is {self.seed}; give 0 or a positive number")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """The checked settings of a composed configuration.

        Raises:
            BadSetting: a value of the wrong type or beyond its limits.
            UnknownName: a setting that does not exist; the sentence lists those that do.
        """
        schema = OmegaConf.structured(cls)
        for node in (schema, schema.optimiser, schema.runtime):
            OmegaConf.set_readonly(node, False)  # frozen dataclasses make schemas that nothing merges into
        try:
            made = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.create(dict(config))))
        except ConfigKeyError as error:
            owner = "run" if "." not in str(error.full_key) else str(error.full_key).split(".")[0]
            known = {"optimiser": Optimiser, "runtime": Runtime}.get(owner, cls).__dataclass_fields__
            raise UnknownName(f"setting of the {owner}", str(error.key), list(known)) from error
        except OmegaConfBaseException as error:
            raise BadSetting(f"{error.full_key}: {_first_line(error)}") from error
        assert isinstance(made, cls)
        return made


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """``configs/train.yaml`` with ``overrides`` such as ``experiment=speech`` or ``runtime.steps=100``.

    Raises:
        BadSetting: an override that Hydra cannot read.
        UnknownName: a group has no file of that name.
    """
    # A dotted name may be new to the files (they hold choices only); its owner checks it when made.
    dotted = [f"++{o}" if "." in o.split("=")[0] and o[0] not in "+~" else o for o in overrides]
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = hydra_compose("train", dotted)
            OmegaConf.resolve(config)
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        raise UnknownName(group, name, list(error.options or ())) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        given = " ".join(overrides)
        raise BadSetting(f"the settings {given} cannot be used: {_first_line(error)}") from error
    return config


def config_folder() -> Path:
    """Where the YAML files are: in the installed package, or beside it in a checkout."""
    package = Path(speechvq.__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise BadSetting(f"this installation has no settings files; {package / 'configs'} is missing")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
