"""``speechvq prepare``: a manifest of your own folder, or of a published corpus; `prepare_pictures` has more.

A corpus here is a function of the flags that it alone has; the flags of all corpora are those of
`_prepare`. The work is done by `speechvq.speech.prepare`.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from speechvq.cli import prepare_pictures
from speechvq.cli.options import Force
from speechvq.serve.bulk import Bad

if TYPE_CHECKING:
    from speechvq.speech.prepare import Prepared, Processing

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Where the recordings lie.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where manifest.jsonl and copies go.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the utterances held out.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of the split, and of sentences.")]
OnBad = Annotated[
    Bad,
    typer.Option(
        "--bad", help="Bad recordings: leave them out (report: and leave with code 1), or stop at once."
    ),
]
Shortest = Annotated[float, typer.Option("--shortest", min=0, help="Seconds; leave out what is shorter.")]
Rate = Annotated[int | None, typer.Option("--sample-rate", help="Make copies at this rate.")]
Highpass = Annotated[float, typer.Option("--highpass", help="Make copies without what is below, in Hz.")]
Normalise = Annotated[str, typer.Option("--normalise", help="Make copies with equal: peak, loudness.")]
Trim = Annotated[float | None, typer.Option("--trim", help="Leave silence at the ends out, dB under peak.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Recordings at a time; 0: one a core.")]


def register(app: typer.Typer) -> None:
    """Add the verb and its corpora."""
    verb = typer.Typer(no_args_is_help=True)
    epilog = "Example: speechvq prepare folder recordings/ --out data"

    @verb.callback()
    def about() -> None:
        """Make a manifest of recordings, or a store of pictures."""

    for own in (folder, vctk, librispeech, ljspeech, timit, zerospeech2019, asterisk, flite):
        example = {"flite": "--sentences 500", "asterisk": ""}.get(own.__name__, "ROOT")
        last = f"Example: speechvq prepare {own.__name__} {example}".strip()
        verb.command(own.__name__, help=own.__doc__, epilog=last, rich_help_panel="Speech")(_command(own))
    prepare_pictures.register(verb)
    about_all = "Make a manifest of recordings, or a store of pictures."
    app.add_typer(verb, name="prepare", help=about_all, epilog=epilog)


def folder(
    root: Root, *, speaker: Annotated[str | None, typer.Option(help="All of them are this voice's.")] = None
) -> dict[str, Any]:
    """Your own recordings: ROOT/VOICE/**.wav (flac, ogg, opus, mp3)."""
    return {"root": root, "speaker": speaker}


def vctk(
    root: Root,
    *,
    mic: Annotated[int, typer.Option(min=1, max=2, help="Which microphone.")] = 2,
    unseen: Annotated[list[str] | None, typer.Option(help="A voice kept for the test.")] = None,
) -> dict[str, Any]:
    """VCTK 0.92, 109 voices of English."""
    return {"root": root, "mic": mic, "unseen": tuple(unseen or ())}


def librispeech(
    root: Root,
    *,
    subset: Annotated[list[str] | None, typer.Option(help="Only these, such as train-clean-100.")] = None,
    alignments: Annotated[Path | None, typer.Option(help="Folder of TextGrids.")] = None,
) -> dict[str, Any]:
    """LibriSpeech, read English books."""
    return {"root": root, "subsets": tuple(subset) if subset else None, "alignments": alignments}


def ljspeech(root: Root) -> dict[str, Any]:
    """LJ Speech, one voice."""
    return {"root": root}


def timit(root: Root) -> dict[str, Any]:
    """TIMIT, with its phone times."""
    return {"root": root}


def zerospeech2019(
    root: Root,
    *,
    language: Annotated[str, typer.Option(help="english, english_small or surprise.")] = "english",
    vad: Annotated[bool, typer.Option("--vad", help="Cut by the challenge's speech times.")] = False,
) -> dict[str, Any]:
    """ZeroSpeech 2019: text to speech without text."""
    return {"root": root, "language": language, "vad": vad}


def asterisk(
    root: Annotated[Path | None, typer.Argument(metavar="[ROOT]", help="A folder, or .deb files.")] = None,
) -> dict[str, Any]:
    """The five voices of the Asterisk prompts (Debian's asterisk-core-sounds-*-g722)."""
    return {"root": root}


def flite(
    *,
    sentences: Annotated[int, typer.Option(min=1, help="How many, for each voice.")] = 1000,
    parallel: Annotated[bool, typer.Option("--parallel", help="Every voice says every sentence.")] = False,
) -> dict[str, Any]:
    """Synthetic speech in four voices, with exact phone times."""
    return {"root": None, "sentences": sentences, "parallel": parallel}


def _prepare(
    name: str,
    own: dict[str, Any],
    *,
    out: Out = Path("data"),
    valid: Share = 0.05,
    test: Share = 0.05,
    seed: Seed = 0,
    bad: OnBad = Bad.SKIP,
    shortest: Shortest = 0.5,
    sample_rate: Rate = None,
    highpass: Highpass = 0.0,
    normalise: Normalise = "none",
    trim: Trim = None,
    workers: Workers = 0,
    force: Force = False,
) -> None:
    from speechvq.speech.prepare import Options, preparer
    from speechvq.store.atomic import refuse
    from speechvq.store.manifest import write_manifest

    manifest = out / "manifest.jsonl"
    refuse(manifest, force=force)
    options = Options(
        valid=valid,
        test=test,
        seed=seed,
        on_bad="refuse" if bad is Bad.REFUSE else "skip",
        shortest=shortest,
        processing=_processing(sample_rate, highpass, normalise, trim),
        workers=workers,
        progress=True,
    )
    prepared = preparer(name)(own.pop("root"), out, options=options, **own)
    write_manifest(manifest, prepared.entries, force=force)
    _tell(prepared, manifest)
    if prepared.skipped.total and bad is Bad.REPORT:
        raise typer.Exit(1)


def _processing(
    sample_rate: int | None, highpass: float, normalise: str, trim: float | None
) -> "Processing | None":
    """What is to be done to the sound; None when nothing is, and the originals serve."""
    from speechvq.speech.prepare import Processing

    if sample_rate is None and not highpass and normalise == "none" and trim is None:
        return None
    return Processing(sample_rate=sample_rate or 16000, highpass=highpass, normalise=normalise, trim=trim)


def _tell(prepared: "Prepared", manifest: Path) -> None:
    """What was found, and what was left out and why."""
    console = Console(highlight=False, soft_wrap=True)
    voices = Counter(entry.speaker for entry in prepared.entries)
    hours = sum(entry.duration for entry in prepared.entries) / 3600
    splits = Counter(entry.split for entry in prepared.entries)
    console.print(
        f"{manifest}: {len(prepared.entries)} recordings, {hours:.2f} h, {len(voices)} voices "
        f"({', '.join(f'{splits[name]} {name}' for name in ('train', 'valid', 'test'))})"
    )
    if prepared.skipped.total:
        table = Table(title=f"{prepared.skipped.total} left out", title_justify="left")
        for name in ("why", "how many", "for example"):
            table.add_column(name, overflow="fold")
        for reason, count in prepared.skipped.counts.items():
            table.add_row(reason, str(count), prepared.skipped.paths[reason][0])
        console.print(table)


def _command(own: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """The corpus's own flags and those of all corpora, as one command."""
    mine = inspect.signature(own).parameters
    shared = [p for p in inspect.signature(_prepare).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def command(**flags: Any) -> None:
        _prepare(own.__name__, own(**{name: flags.pop(name) for name in mine}), **flags)

    command.__signature__ = inspect.Signature([*mine.values(), *shared])  # pyright: ignore[reportFunctionMemberAccess]
    return command
