"""``speechvq score``: how good a codec is."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechvq.cli import score_prior, score_probe, score_units
from speechvq.cli.options import CodecFolder, Device, Force, load_codec
from speechvq.errors import BadSetting

Manifest = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="Recordings: those of split test are converted.")
]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the page and the figures go.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker", "-s", metavar="NAME", help="A target voice; may be repeated.", show_default="all"
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Recordings to convert; 0 takes all.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes that score.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Chooses recordings and references.")]


def register(app: typer.Typer) -> None:
    """Add the verb and what can be scored."""
    verb = typer.Typer(no_args_is_help=True)
    epilog = "Example: speechvq score conversion data/manifest.jsonl --out outputs/scores"
    verb.command(epilog=epilog)(conversion)
    score_prior.register(verb)
    score_probe.register(verb)
    score_units.register(verb)
    verb.callback()(_all)
    app.add_typer(verb, name="score", help="Measure a codec.", epilog=epilog)


def _all() -> None:
    """Measure a codec."""


def conversion(
    manifest: Manifest,
    *,
    out: Folder = Path("outputs/scores"),
    codec: CodecFolder = None,
    speaker: Targets = None,
    limit: Limit = 40,
    jobs: Jobs = 1,
    seed: Seed = 0,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Convert held-out recordings into every other voice; words, voice, naturalness, pitch."""
    from speechvq.score.conversion import score_conversion
    from speechvq.store.manifest import read_manifest

    entries, loaded = read_manifest(manifest), load_codec(codec, device)
    if loaded.room != "speech":
        raise BadSetting(f"conversion is of voices, and this codec is of room {loaded.room}")
    scores = score_conversion(
        entries, loaded, speaker or None, out, limit=limit or None, seed=seed, force=force, jobs=jobs
    )
    console = Console()
    console.print(scores.table())
    console.print(f"page: {out / 'index.html'}   figures: {out / 'scores.json'}", soft_wrap=True)
