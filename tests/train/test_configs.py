"""Every YAML of configs/ is built and takes one step, on made-up recordings."""

from itertools import islice
from pathlib import Path

import pytest

from speechvq.train import Settings, compose
from speechvq.train.evaluate import endless
from speechvq.train.loop import begin, step
from speechvq.train.sampler import Order
from speechvq.train.settings import GROUPS, config_folder
from speechvq.train.start import start_fabric

FILES = {group: sorted((config_folder() / group).glob("*.yaml")) for group in GROUPS}
CHOICES = [f"{group}={path.stem}" for group, paths in FILES.items() for path in paths]


def test_every_group_has_choices():
    assert all(FILES.values())
    files = set(config_folder().rglob("*.yaml")) - {config_folder() / "train.yaml"}
    assert len(files) == len(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_it_is_built_and_takes_a_step(choice: str, manifest: Path, codec: Path, tmp_path: Path):
    small = ["data.seconds=0.2", "data.valid_seconds=0.2", "runtime.batch_size=2", "runtime.accelerator=cpu"]
    overrides = [choice, f"data.manifest={manifest}", f"folder={tmp_path / 'run'}", *small]
    if choice.split("=")[0] in ("quantizer", "data", "runtime"):
        overrides.append("model=mel_spectral_tiny")
    if "zerospeech" in choice:  # its published widths take a minute for this step
        overrides += ["model.decoder.widths=tiny", "model.encoder.channels=64"]
    if "prior" in choice:
        overrides.append(f"model.codec={codec}")
    settings = Settings.of(compose(overrides))
    fabric = start_fabric(settings.runtime)
    run, task, desk = begin(fabric, settings)
    assert desk.board is not None
    desk.board.close()
    run.objective.train()
    (batch,) = islice(endless(task.train, Order(len(task.train), 2), first=0, workers=0), 1)
    (outcome,) = step(fabric, run, [batch])
    run.follow([outcome], epoch=0)
    assert outcome.loss.isfinite()
    assert run.use.sentence.endswith("codes used this epoch") or "prior" in choice
