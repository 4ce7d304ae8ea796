"""``speechvq score probe``: which classes of pictures can be read from the middle of a prior."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechvq.cli.options import Device, Force, load_codec
from speechvq.cli.pictures import PixelSize, open_pictures
from speechvq.errors import BadSetting

PriorFolder = Annotated[Path, typer.Argument(metavar="PRIOR", help="The prior's folder; it is told nothing.")]
CodecPlace = Annotated[
    str, typer.Option("--codec", metavar="FOLDER", help="The codec whose codes the prior models.")
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="FOLDER", help="Pictures with labels, as `speechvq prepare` made them."),
]
Layers = Annotated[
    str, typer.Option("--layers", metavar="LIST", help="all, or numbers of blocks such as 1,3.")
]
Pictures = Annotated[
    int, typer.Option("--pictures", min=0, help="Drawn from each split, at most; 0 takes all.")
]
Folder = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Write the figures there, as probe.json.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Draws pictures and random weights.")]


def register(verb: typer.Typer) -> None:
    """Add it to what can be scored."""
    place = "runs/image_vim/prior --codec runs/image_vit/codec --data data/vizdoom"
    verb.command(epilog=f"Example: speechvq score probe {place}")(probe)


def probe(
    folder: PriorFolder,
    *,
    codec: CodecPlace,
    data: Data,
    size: PixelSize = None,
    layers: Layers = "all",
    pictures: Pictures = 10_000,
    out: Folder = None,
    seed: Seed = 0,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """A linear classifier on each block of a prior of pictures, beside raw pixels and random weights."""
    from speechvq.prior import Prior
    from speechvq.score.linear_probe import LinearProbeSettings
    from speechvq.score.prior_probe import probe_prior
    from speechvq.store.atomic import atomic, refuse

    asked = _numbers(layers)
    figures = None if out is None else out / "probe.json"
    if figures is not None:
        refuse(figures, force=force)
    prior, loaded = Prior.from_pretrained(folder), load_codec(codec, device)
    if loaded.room != "image":
        raise BadSetting(f"probes read pictures, and the codec in {codec} is of room {loaded.room}")
    found = probe_prior(
        prior.to(device),
        loaded,
        open_pictures(data, loaded, size),
        layers=asked,
        pictures=pictures,
        settings=LinearProbeSettings(seed=seed),
    )
    console = Console()
    console.print(found.table())
    if figures is not None:
        with atomic(figures, force=force) as temporary:
            temporary.write_text(json.dumps(found.plain(), indent=1) + "\n")
        console.print(f"figures: {figures}", soft_wrap=True)


def _numbers(layers: str) -> list[int] | None:
    if layers == "all":
        return None
    parts = layers.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise BadSetting(f"--layers takes all, or numbers of blocks such as 1,3, not {layers!r}")
    return [int(part) for part in parts]
