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

from speechvq.errors import BadCheckpoint, WouldOverwrite
from speechvq.store.atomic import atomic
from speechvq.table import plain
from speechvq.train.checkpoint import Checkpoints
from speechvq.train.settings import Runtime, Settings

OURS = ("config.yaml", "log.jsonl", "board", "checkpoints", "codec", "prior")


def start_fabric(runtime: Runtime) -> Fabric:
    """One process on one device, or, when torchrun has started several, this one of them."""
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
        BadCheckpoint: the run there is of another codec.
    """
    there = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if there and not settings.resume and not settings.force:
        raise WouldOverwrite(f"{folder} (a run; resume=true goes on with it, force=true replaces it)")
    if not settings.resume or not Checkpoints(folder / "checkpoints").latest.is_file():
        return False
    before = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    for name in ("room", "rate", "model", "quantizer", "objective"):
        if isinstance(before, dict) and before.get(name) != plain(getattr(settings, name)):
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
