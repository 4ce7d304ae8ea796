"""``speechvq prepare`` for pictures: a store of your own folder, of a published set, or made by a game.

The work is done by `speechvq.image.prepare`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from speechvq.cli.options import Force
from speechvq.errors import BadSetting

if TYPE_CHECKING:
    from speechvq.store.arrays import ArrayStore

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Where the files lie.", show_default=False)]


def _folder(out: Path) -> Path:
    """``--out``, if it is or can become a folder."""
    if taken := next((place for place in (out, *out.parents) if place.exists() and not place.is_dir()), None):
        raise BadSetting(f"{taken} is a file; give the name of a folder with --out")
    return out


Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help="Where the store goes: data.root of a run.", callback=_folder
    ),
]
MOST = 4096  # pixels a side
Share = Annotated[float, typer.Option(min=0, max=0.9, help="Share held out.")]
Side = Annotated[str, typer.Option("--size", metavar="N|WxH", help="Pixels a side, or width x height.")]


def register(verb: typer.Typer) -> None:
    """Add the pictures to the verb that prepares."""
    examples = {
        fashion_mnist: "--out data/fashion_mnist",
        mnist: "mnist/ --out data/mnist",
        cifar10: "cifar-10-batches-bin/ --out data/cifar10",
        pictures: "photos/ --size 128 --out data/photos",
        vizdoom: "--frames 10000 --size 64 --out data/vizdoom",
    }
    for own, example in examples.items():
        name = getattr(own, "__name__", "")
        last = f"Example: speechvq prepare {name} {example}"
        verb.command(name, help=own.__doc__, epilog=last, rich_help_panel="Pictures")(own)


def fashion_mnist(
    root: Annotated[Path | None, typer.Argument(metavar="[ROOT]", help="A folder, or a .deb file.")] = None,
    *,
    out: Out = Path("data/fashion_mnist"),
    valid: Share = 0.1,
    force: Force = False,
) -> None:
    """Fashion-MNIST, 70,000 pictures of clothes (Debian's dataset-fashion-mnist, or its four IDX files)."""
    from speechvq.image import prepare

    _tell(prepare.fashion_mnist(root, out, valid=valid, force=force))


def mnist(root: Root, *, out: Out = Path("data/mnist"), valid: Share = 0.1, force: Force = False) -> None:
    """MNIST, handwritten digits in four IDX files."""
    from speechvq.image import prepare

    _tell(prepare.mnist(root, out, valid=valid, force=force))


def cifar10(root: Root, *, out: Out = Path("data/cifar10"), valid: Share = 0.1, force: Force = False) -> None:
    """CIFAR-10, small photographs, in its binary version."""
    from speechvq.image import prepare

    _tell(prepare.cifar10(root, out, valid=valid, force=force))


def pictures(
    root: Root,
    *,
    out: Out = Path("data/pictures"),
    size: Side = "128",
    valid: Share = 0.05,
    force: Force = False,
) -> None:
    """Your own pictures, decoded and cut once (a run reads them as they lie, too: data.root=ROOT)."""
    from speechvq.image import prepare

    _tell(prepare.pictures(root, out, size=read_size(size), valid=valid, force=force))


def vizdoom(
    *,
    frames: Annotated[int, typer.Option(min=1, help="How many pictures, in all.")] = 10_000,
    size: Side = "64",
    out: Out = Path("data/vizdoom"),
    level: Annotated[list[str] | None, typer.Option(help="Only this level; may be said again.")] = None,
    tics: Annotated[int, typer.Option(min=1, help="Of the game for each frame, 1/35 s each.")] = 4,
    sound: Annotated[bool, typer.Option("--sound", help="Keep the sound.")] = False,
    valid: Share = 0.05,
    test: Share = 0.05,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the games.")] = 0,
    force: Force = False,
) -> None:
    """Frames of a 3-D game with depth, classes of things and the player's actions, made here."""
    from speechvq.image import prepare

    levels = {"levels": tuple(level)} if level else {}
    wanted = prepare.Wanted(
        frames, read_size(size), tics=tics, sound=sound, valid=valid, test=test, seed=seed, **levels
    )
    _tell(prepare.vizdoom(out, wanted, force=force))


def read_size(text: str) -> tuple[int, int]:
    """``64`` or ``128x96``, width first, as (height, width).

    Raises:
        BadSetting: it is neither, or has a side of more than 4096 pixels.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text.strip().lower())
    if match is None:
        raise BadSetting(f"--size {text} is not a size; give pixels a side (64), or width x height (128x96)")
    height, width = int(match[2] or match[1]), int(match[1])
    if max(height, width) > MOST:
        raise BadSetting(f"--size {text} is too large; give at most {MOST} pixels a side")
    return height, width


def _tell(store: "ArrayStore") -> None:
    """What was written."""
    shape = store.arrays("train")["picture"].shape
    counts = ", ".join(f"{count:,} {split}" for split, count in store.counts.items())
    total = sum(store.counts.values())
    facts = [f"{shape[3]} x {shape[2]} pixels, {'grey' if shape[1] == 1 else 'RGB'}"]
    facts += [f"classes of {name}: {len(names)}" for name, names in store.names.items()]
    Console(highlight=False, soft_wrap=True).print(
        f"{store.folder}: {total:,} pictures ({counts}), {', '.join(facts)}"
    )
