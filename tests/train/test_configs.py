"""Every YAML of configs/ is built and takes one step, on made-up recordings and pictures."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from speechvq.codec import Codec
from speechvq.train import Settings, compose
from speechvq.train.evaluate import endless
from speechvq.train.loop import begin, step
from speechvq.train.sampler import Order
from speechvq.train.settings import GROUPS, config_folder
from speechvq.train.start import start_fabric

FILES = {group: sorted((config_folder() / group).glob("*.yaml")) for group in GROUPS}
CHOICES = [f"{group}={path.stem}" for group, paths in FILES.items() for path in paths]
OF_PICTURES = ("image", "vqgan", "rqvae", "vqvae", "picture", "pixelcnn", "gpt", "vit", "vim", "stacked")
SMALL = ["runtime.batch_size=2", "runtime.accelerator=cpu"]


def test_every_group_has_choices():
    assert all(FILES.values())
    files = set(config_folder().rglob("*.yaml")) - {config_folder() / "train.yaml"}
    assert len(files) == len(CHOICES)


def about(choice: str, *words: str) -> bool:
    """Whether one of the words is in the name of the file."""
    return any(word in choice.split("=")[1] for word in words)


def of_prior(choice: str) -> bool:
    """Whether the file is of a prior, and needs a codec."""
    return about(choice, "prior", "pixelcnn", "gpt", "vim") or choice.endswith("_rq")


@pytest.fixture
def asked(manifest: Path, codec: Path, pictures: Path, picture_codec: Path) -> Callable[[str], list[str]]:
    """The overrides that one file needs beside it."""

    def of_pictures(choice: str) -> list[str]:
        overrides = ["room=image", "rate=1", "data=pictures", f"data.root={pictures}"]
        if of_prior(choice):
            return [*overrides, f"model.codec={picture_codec}"]
        if about(choice, "stacked"):
            overrides.append(f"model.first={picture_codec}")
        if choice == "data=pictures":
            overrides.append("model=vqvae")
        if about(choice, "vqgan", "rqvae"):  # their smallest size takes a second for this step
            widths = (
                "{channels: 32, multipliers: [1, 1], blocks: 1, attention: [], resolution: 16, latent: 32}"
            )
            overrides += [f"model.{part}.size={widths}" for part in ("encoder", "decoder")]
        if about(choice, "vit"):  # its critic sees pictures of that size only
            overrides.append("model.encoder.side=16")
        return overrides + ["data.view=segmentation"] * about(choice, "segmentation")

    def of_speech(choice: str) -> list[str]:
        overrides = [f"data.manifest={manifest}", "data.seconds=0.2", "data.valid_seconds=0.2"]
        if choice.split("=")[0] in ("quantizer", "data", "runtime"):
            overrides.append("model=mel_spectral_tiny")
        if about(choice, "zerospeech"):  # its published widths take a minute for this step
            overrides += ["model.decoder.widths=tiny", "model.encoder.channels=64"]
        return overrides + [f"model.codec={codec}"] * of_prior(choice)

    def overrides(choice: str) -> list[str]:
        pictures = about(choice, *OF_PICTURES) and not choice.startswith("quantizer")
        return of_pictures(choice) if pictures else of_speech(choice)

    return overrides


@pytest.mark.parametrize("choice", CHOICES)
def test_it_is_built_and_takes_a_step(choice: str, asked: Callable[[str], list[str]], tmp_path: Path):
    overrides = [choice, f"folder={tmp_path / 'run'}", *SMALL]
    overrides += [o for o in asked(choice) if o != choice and o.split("=")[0] not in overrides]
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
    assert run.use.sentence.endswith("codes used this epoch") or of_prior(choice)


def test_the_papers_ten_latents_are_those_that_the_file_says(pictures: Path, tmp_path: Path):
    text = (config_folder() / "model/vqvae_cifar10.yaml").read_text()
    said = [word for word in text.replace("#", " ").split() if "=" in word]
    own = [f"folder={tmp_path / 'run'}", f"data.root={pictures}", "model=vqvae_cifar10", *said, *SMALL]
    settings = Settings.of(compose(["experiment=image_vqvae", *own]))
    codec = begin(start_fabric(settings.runtime), settings)[1].objective.product
    assert isinstance(codec, Codec)
    height, width = codec.encoder.grid((32, 32))
    quantizer = codec.quantizer
    assert (height, width, quantizer.num_codebooks, quantizer.codebook_size) == (8, 8, 10, 512)
    assert height * width * quantizer.num_codebooks * 9 / (32 * 32 * 3) == 1.875  # bits a dimension
