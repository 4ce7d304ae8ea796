"""``speechvq score prior``: what held-out codes cost a prior, beside counting them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechvq.cli.options import CodecFolder, Device, Force, load_codec
from speechvq.errors import BadManifest, UnknownName

PriorFolder = Annotated[Path, typer.Argument(metavar="PRIOR", help="The prior's folder.")]
Manifest = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="Recordings, or code files; those of split train are counted."),
]
Split = Annotated[str, typer.Option("--split", help="Held-out split: test or valid.")]
Figures = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the figures here, as JSON.")
]


def register(verb: typer.Typer) -> None:
    """Add it to what can be scored."""
    verb.command(epilog="Example: speechvq score prior runs/speech_prior/prior data/manifest.jsonl")(prior)


def prior(
    folder: PriorFolder,
    manifest: Manifest,
    *,
    codec: CodecFolder = None,
    split: Split = "test",
    out: Figures = None,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Bits per code and per second of held-out codes, beside uniform, unigram, bigram and trigram."""
    from speechvq.prior import Prior
    from speechvq.score.prior import HELD, code_streams, score_prior
    from speechvq.store.atomic import atomic, refuse
    from speechvq.store.codes import SUFFIX
    from speechvq.store.manifest import read_manifest

    if split not in ("test", "valid"):
        raise UnknownName("held-out split", split, ["test", "valid"])
    if out is not None:
        refuse(out, force=force)
    if manifest.is_dir():
        raise BadManifest(f"{manifest} is a folder; give a manifest of recordings or of their codes ({HELD})")
    loaded, entries = Prior.from_pretrained(folder), read_manifest(manifest)
    train, held = ([e for e in entries if e.split == name] for name in ("train", split))
    if not train or not held:
        raise BadManifest(f"{manifest} needs recordings of the splits train and {split}")
    stored = all(entry.path.endswith(SUFFIX) for entry in [*train, *held])
    made_by = None if stored else load_codec(codec, device)
    streams = [code_streams(some, made_by, loaded) for some in (train, held)]
    scores = score_prior(loaded, *streams, device=device)
    console = Console()
    console.print(scores.table())
    if out is not None:
        with atomic(out, force=force) as temporary:
            temporary.write_text(json.dumps(scores.plain(), indent=1) + "\n")
        console.print(f"figures: {out}", soft_wrap=True)
