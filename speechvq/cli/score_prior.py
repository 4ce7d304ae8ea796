"""``speechvq score prior``: what held-out codes cost a prior, beside counting them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from speechvq.cli.options import CodecFolder, Device, Force, load_codec
from speechvq.cli.pictures import PixelSize, ToldCodec, named, open_pictures
from speechvq.errors import BadManifest, BadSetting, UnknownName

if TYPE_CHECKING:
    from speechvq.prior import Prior
    from speechvq.score.prior import PriorScores
    from speechvq.score.prior_pictures import PicturePriorScores

PriorFolder = Annotated[Path, typer.Argument(metavar="PRIOR", help="The prior's folder.")]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="Recordings, or code files; or a folder of pictures, such as `speechvq prepare` makes. Those of "
        "split train are counted.",
    ),
]
Split = Annotated[str, typer.Option("--split", help="Held-out split: test or valid.")]
Figures = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the figures here, as JSON.")
]


def register(verb: typer.Typer) -> None:
    """Add it to what can be scored."""
    verb.command(
        epilog="Example: speechvq score prior runs/speech_prior/prior data/manifest.jsonl. Of pictures: "
        "speechvq score prior runs/image_pixelcnn/prior data/fashion_mnist --codec runs/image_vqvae/codec"
    )(prior)


def prior(
    folder: PriorFolder,
    manifest: Data,
    *,
    codec: CodecFolder = None,
    split: Split = "test",
    out: Figures = None,
    told_codec: ToldCodec = None,
    size: PixelSize = None,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Bits per code of held-out codes, beside uniform, unigram, bigram and trigram.

    Of speech also bits per second, and of pictures, where the codec has a likelihood, bits per dimension.
    """
    from speechvq.prior import Prior
    from speechvq.store.arrays import INDEX
    from speechvq.store.atomic import atomic, refuse

    if split not in ("test", "valid"):
        raise UnknownName("held-out split", split, ["test", "valid"])
    if out is not None:
        refuse(out, force=force)
    loaded = Prior.from_pretrained(folder)
    if manifest.is_dir() or manifest.name == INDEX:
        codecs = named("--told-codec", told_codec)
        scores = _of_pictures(loaded, manifest, codec, split, size=size, codecs=codecs, device=device)
    else:
        if told_codec or size:
            raise BadSetting(f"--told-codec and --size are for a folder of pictures, and {manifest} is none")
        scores = _of_speech(loaded, manifest, codec, split, device=device)
    console = Console()
    console.print(scores.table())
    if out is not None:
        with atomic(out, force=force) as temporary:
            temporary.write_text(json.dumps(scores.plain(), indent=1) + "\n")
        console.print(f"figures: {out}", soft_wrap=True)


def _of_speech(
    prior: "Prior", manifest: Path, codec: str | None, split: str, *, device: str
) -> "PriorScores":
    from speechvq.score.prior import code_streams, score_prior
    from speechvq.store.codes import SUFFIX
    from speechvq.store.manifest import read_manifest

    entries = read_manifest(manifest)
    train, held = ([e for e in entries if e.split == name] for name in ("train", split))
    if not train or not held:
        raise BadManifest(f"{manifest} needs recordings of the splits train and {split}")
    stored = all(entry.path.endswith(SUFFIX) for entry in [*train, *held])
    made_by = None if stored else load_codec(codec, device)
    streams = [code_streams(some, made_by, prior) for some in (train, held)]
    return score_prior(prior, *streams, device=device)


def _of_pictures(
    prior: "Prior",
    root: Path,
    codec: str | None,
    split: str,
    *,
    size: str | None,
    codecs: dict[str, str],
    device: str,
) -> "PicturePriorScores":
    made_by = load_codec(codec, device)
    if made_by.room != "image":
        raise BadSetting(
            f"{root} is a folder, so of pictures, and this codec is of room {made_by.room}; give a codec of "
            "pictures with --codec, or a manifest of recordings or of their codes"
        )
    from speechvq.score.prior_pictures import score_picture_prior

    corpus = open_pictures(root, made_by, size)
    loaded = {name: load_codec(place, device) for name, place in codecs.items()}
    return score_picture_prior(prior.to(device), made_by, corpus, split=split, codecs=loaded)
