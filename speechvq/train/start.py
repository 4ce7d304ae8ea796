"""How a run begins: processes and device, seeds, and a folder of its own."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from speechvq.errors import BadCheckpoint, BadSetting, WouldOverwrite
from speechvq.store.atomic import atomic
from speechvq.table import plain
from speechvq.train.checkpoint import Checkpoints
from speechvq.train.settings import Runtime, Settings

OURS = ("config.yaml", "log.jsonl", "board", "checkpoints", "codec", "prior")


def start_fabric(runtime: Runtime) -> Fabric:
    """One process on one device, or, when torchrun has started several, this one of them.

    Raises:
        BadSetting: a GPU is asked for, and there is none.
    """
    if runtime.accelerator == "cuda" and not torch.cuda.is_available():
        raise BadSetting("runtime.accelerator is cuda, and no CUDA GPU can be used here; give cpu, or auto")
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    # Buffers are the codebooks' own affair: every process computes the same from gathered statistics.
    ddp = DDPStrategy(broadcast_buffers=False, find_unused_parameters=True)
    fabric = Fabric(
        accelerator=runtime.accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        precision=runtime.precision,  # pyright: ignore[reportArgumentType]
        strategy=ddp if world > 1 else "auto",
    )
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return fabric


def seed_everything(seed: int) -> None:
    """Every source of randomness of this process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def resumable(folder: Path, settings: Settings) -> bool:
    """Whether there is a run in ``folder`` to go on with.

    Raises:
        WouldOverwrite: there is something, and it is neither to be resumed nor replaced.
        BadCheckpoint: the run there is of another codec, or its config.yaml cannot be read.
    """
    there = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if there and not settings.resume and not settings.force:
        raise WouldOverwrite(folder, how="resume=true to go on with a run that is there, force=true")
    if not settings.resume or not Checkpoints(folder / "checkpoints").latest.is_file():
        return False
    try:
        before = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    except (FileNotFoundError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        where = folder / "config.yaml"
        raise BadCheckpoint(f"{where}, by which a run is resumed, is gone or damaged") from error
    for name in ("room", "rate", "model", "quantizer", "objective"):
        if not isinstance(before, dict) or before.get(name) != plain(getattr(settings, name)):
            raise BadCheckpoint(f"the run in {folder} had another {name}; give the same, or another folder")
    return True


def claim(folder: Path, settings: Settings) -> None:
    """Make the run's folder; with force, what an earlier run wrote there goes, and nothing else."""
    if settings.force:
        for name in OURS:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    with atomic(folder / "config.yaml") as temporary:
        OmegaConf.save(OmegaConf.create(plain(settings)), temporary)
