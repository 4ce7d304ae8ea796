"""``speechvq demo``: the bundled recordings in every voice, or a tiny codec trained while you wait."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from speechvq.cli.options import CodecFolder, load_codec
from speechvq.errors import BadManifest, BadSetting

Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where everything is written.")]
Train = Annotated[bool, typer.Option("--train", help="Train a tiny codec on the recordings instead.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0.01, help="How long --train takes at most.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes that score.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: speechvq demo --out outputs/demo")(demo)


def demo(
    *,
    out: Folder = Path("outputs/demo"),
    train: Train = False,
    minutes: Minutes = 3.0,
    jobs: Jobs = 1,
    codec: CodecFolder = None,
) -> None:
    """Speak bundled recordings in every voice; makes a page to listen to. A former demo is replaced."""
    from speechvq.store.weights import load_config, shipped

    if codec is None:
        codec = str(shipped())
    elif (room := load_config(codec).get("room", "speech")) != "speech":
        raise BadSetting(f"the demo speaks, and the codec in {codec} is of room {room}; give one of speech")
    manifest = Path(codec) / "examples" / "examples.jsonl"
    if not manifest.is_file():
        raise BadManifest(f"this codec comes without recordings for a demo: there is no {manifest}")
    if train:
        _train(manifest, out / "train", minutes)
    else:
        _convert(manifest, codec, out, jobs)


def _convert(manifest: Path, folder: str | None, out: Path, jobs: int) -> None:
    """Recordings to code files, to every voice of the recordings, to a table and a page."""
    from speechvq.score.conversion import score_conversion
    from speechvq.serve.files import encode_file
    from speechvq.store.manifest import read_manifest

    console = Console(highlight=False, soft_wrap=True)
    codec, entries = load_codec(folder), read_manifest(manifest)
    sources = [entry for entry in entries if entry.split == "test"]
    voices = [name for name in codec.decoder.speakers if any(name == entry.speaker for entry in entries)]
    size = 0
    for entry in sources:
        target = out / "codes" / f"{entry.speaker}_{entry.utterance}.svq"
        encode_file(codec, entry.path, str(target), force=True)
        size += target.stat().st_size
    seconds = sum(entry.duration for entry in sources)
    console.print(
        f"{len(sources)} recordings, {seconds:.1f} s of speech, are {size:,} bytes of codes in "
        f"{out / 'codes'}; now speaking and scoring each in {', '.join(voices)}"
    )
    scores = score_conversion(entries, codec, voices, out, limit=None, force=True, jobs=jobs)
    console.print(scores.table())
    console.print(f"Listen: {out / 'index.html'}")


def _train(manifest: Path, folder: Path, minutes: float) -> None:
    """A tiny codec from nothing: the loss falls, and codes come into use."""
    from speechvq.store.manifest import read_manifest, write_manifest
    from speechvq.train import compose
    from speechvq.train import train as run

    # A manifest of our own, because what is measured of the recordings is kept beside it.
    own = folder / "recordings.jsonl"
    entries = [replace(e, split="valid" if e.split == "valid" else "train") for e in read_manifest(manifest)]
    write_manifest(own, entries, force=True)
    settings = ["experiment=speech_tiny", "force=true"]
    settings += [f"folder={json.dumps(str(folder / 'run'))}", f"data.manifest={json.dumps(str(own))}"]
    settings += [f"runtime.max_minutes={minutes}", "runtime.log_every=5"]
    run(compose(settings))
    log = folder / "run" / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    figures = [line for line in lines if line["split"] == "train"]
    if not figures:
        raise BadSetting(f"{minutes} minutes are too short for five steps; give more --minutes")
    table = Table(title="a tiny codec, trained from nothing", title_justify="left")
    for name in ("step", "loss", "perplexity of the codes"):
        table.add_column(name, justify="right")
    for line in [*figures[: -1 : max(1, len(figures) // 8)], figures[-1]]:
        table.add_row(str(line["step"]), f"{line['loss']:.3f}", f"{line['codes/epoch_perplexity']:.0f}")
    used, size = _used(folder / "run" / "codec", own)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"The loss went from {figures[0]['loss']:.3f} to {figures[-1]['loss']:.3f}, and the recordings "
        f"use {used} of {size} codes. The codec: {folder / 'run' / 'codec'}"
    )


def _used(folder: Path, manifest: Path) -> tuple[int, int]:
    """How many codes the recordings use, and how many there are."""
    from speechvq.speech.audio import read_audio
    from speechvq.store.manifest import read_manifest

    codec = load_codec(str(folder))
    waves = [read_audio(entry.path, sample_rate=round(codec.rate)) for entry in read_manifest(manifest)]
    found = {int(index) for wave in waves for index in codec.encode(wave[None]).indices[:, 0].unique()}
    return len(found), codec.quantizer.codebook_size
