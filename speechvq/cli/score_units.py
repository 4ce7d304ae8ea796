"""``speechvq score units``: what the codes mean."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechvq.cli.options import Device, Force, load_codec
from speechvq.errors import BadManifest, BadSetting, UnknownName

CodecPlace = Annotated[str, typer.Argument(metavar="CODEC", help="The codec's folder, or 'shipped'.")]
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings.")]
Source = Annotated[
    Path | None,
    typer.Option(
        "--alignments", metavar="SOURCE", help="Phone times: a folder, or a ctm or CPC file.",
        show_default="the files that the manifest names",
    ),
]  # fmt: skip
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the page and the figures go.")]
Split = Annotated[str, typer.Option("--split", help="train, valid, test, or all.")]
Voices = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker", "-s", metavar="NAME", help="Only this voice; may be repeated.", show_default="all"
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Recordings, the voices in turn; 0 takes all.")]
Fold = Annotated[bool, typer.Option("--fold39", help="Fold ARPAbet phones to the usual 39 classes.")]
Abx = Annotated[bool, typer.Option("--abx", help="Measure ABX of triphones too (minutes).")]
Genders = Annotated[
    list[str] | None,
    typer.Option("--gender", metavar="NAME=GENDER", help="Of a voice, for the probes; may be repeated."),
]
Beside = Annotated[
    list[Path] | None,
    typer.Option("--beside", metavar="FOLDER", help="An earlier report to compare with; may be repeated."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Chooses recordings and splits.")]


def register(verb: typer.Typer) -> None:
    """Add it to what can be scored."""
    verb.command(epilog="Example: speechvq score units shipped data/speech.jsonl --out outputs/units")(units)


def units(
    codec: CodecPlace,
    manifest: Manifest,
    *,
    alignments: Source = None,
    out: Folder = Path("outputs/units"),
    split: Split = "test",
    speaker: Voices = None,
    limit: Limit = 0,
    fold39: Fold = False,
    abx: Abx = False,
    gender: Genders = None,
    beside: Beside = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Units beside phones: purity, information, boundaries, durations, probes; and a page to listen to."""
    from speechvq.score.choice import choose
    from speechvq.score.conversion import about
    from speechvq.score.probes import ProbeSettings
    from speechvq.score.streams import code_vectors, encode_streams
    from speechvq.score.unit_beside import read_point
    from speechvq.score.unit_report import FILES, PageSettings, UnitReport, entries_of, write_units
    from speechvq.score.unit_scores import score_units
    from speechvq.store.alignments import Folding, align_entries
    from speechvq.store.atomic import refuse
    from speechvq.store.manifest import SPLITS, read_manifest

    if split not in (*SPLITS, "all"):
        raise UnknownName("split", split, [*SPLITS, "all"])
    for name in FILES:
        refuse(out / name, force=force)
    voices, others = _genders(gender or []), [read_point(folder) for folder in beside or ()]
    listed = [entry for entry in read_manifest(manifest) if split in (entry.split, "all")]
    chosen = [replace(e, split="test") for e in listed if not speaker or e.speaker in speaker]
    if not chosen:
        raise BadManifest(f"{manifest} has no recordings of split {split!r} of the voices asked for")
    chosen = choose(chosen, limit=limit or None, seed=seed)
    phones = align_entries(chosen, alignments, folding=Folding(timit39=fold39))
    loaded = load_codec(None if codec == "shipped" else codec, device)
    streams = encode_streams(loaded, chosen, phones, device=device, vectors=True)
    single = loaded.quantizer.num_codebooks == 1
    codes = code_vectors(loaded) if single else None
    scores = score_units(
        streams,
        codebook_size=loaded.quantizer.codebook_size,
        codes=codes,
        genders=voices,
        with_abx=abx,
        settings=ProbeSettings(seed=seed),
    )
    origin = asdict(about(loaded))
    origin.pop("judges")
    report = UnitReport(scores, streams, entries_of(streams, chosen), codes, origin, others)
    page = write_units(report, out, settings=PageSettings(seed=seed), force=force)
    console = Console()
    for table in scores.tables():
        console.print(table)
    console.print(f"page: {page}   figures: {out / 'units.json'}", soft_wrap=True)


def _genders(given: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in given]
    for item, (name, _, value) in zip(given, pairs, strict=True):
        if not name or not value:
            raise BadSetting(f"--gender takes a voice and its gender, such as slt=woman, not {item!r}")
    return {name: value for name, _, value in pairs}
