"""``speechvq align``: phone times for recordings of English that have a text."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from speechvq.cli.options import Force, OnBad, Resume
from speechvq.serve.bulk import Bad

if TYPE_CHECKING:
    from speechvq.speech.align import Aligned

MANY = 10  # unknown words that are shown
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings with their English texts.")]
Folder = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Where phones/ and the new aligned.jsonl go.")
]
Speakers = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker", "-s", metavar="NAME", help="A voice to align; may be repeated.", show_default="all"
    ),
]
Dictionary = Annotated[
    Path | None,
    typer.Option("--dictionary", metavar="FILE", help="More words, a line each: word PHONE PHONE ..."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes that align.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: speechvq align data/manifest.jsonl --out data/aligned")(align)


def align(
    manifest: Manifest,
    *,
    out: Folder,
    speaker: Speakers = None,
    dictionary: Dictionary = None,
    jobs: Jobs = 1,
    bad: OnBad = Bad.REPORT,
    resume: Resume = False,
    force: Force = False,
) -> None:
    """Find when each phone of a known English text is spoken, with pocketsphinx.

    Phone files of an interrupted run are kept. Recordings that are left out keep the alignment they had.
    """
    from speechvq.score.words import normalise
    from speechvq.speech.align import AlignOptions, align_manifest
    from speechvq.store.atomic import refuse
    from speechvq.store.manifest import read_manifest, write_manifest

    target = out / "aligned.jsonl"
    refuse(target, force=force or resume)
    options = AlignOptions(
        jobs=jobs,
        dictionary=dictionary,
        spell=normalise,
        speakers=tuple(speaker or ()),
        again=force,
        refuse=bad is Bad.REFUSE,
        progress=True,
    )
    aligned = align_manifest(read_manifest(manifest), out, options)
    write_manifest(target, aligned.entries, force=force or resume)
    _tell(aligned, target)
    if aligned.skipped and bad is Bad.REPORT:
        raise typer.Exit(1)


def _tell(aligned: "Aligned", target: Path) -> None:
    """What was made, what was left out and why, and which words are missing."""
    console = Console(highlight=False, soft_wrap=True)
    kept = f", {aligned.kept} kept" if aligned.kept else ""
    console.print(f"{target}: {aligned.made} recordings aligned{kept}, {len(aligned.skipped)} left out")
    if not aligned.skipped:
        return
    table = Table()
    for name in ("why", "how many", "for example"):
        table.add_column(name, overflow="fold")
    for reason, count in Counter(error.reason for error in aligned.skipped).most_common():
        example = next(error.path for error in aligned.skipped if error.reason == reason)
        table.add_row(reason, str(count), example)
    console.print(table)
    if aligned.unknown:
        words = ", ".join(f"{word} ({count})" for word, count in list(aligned.unknown.items())[:MANY])
        more = f" and {len(aligned.unknown) - MANY} more" if len(aligned.unknown) > MANY else ""
        console.print(f"Not in the dictionary: {words}{more}; give their phones with --dictionary.")
