"""``speechvq import`` and ``speechvq export``: published weights to folders of ours, and back.

Here are those of speech; `speechvq.cli.import_pictures` has those of pictures.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from speechvq.cli import import_pictures
from speechvq.cli.options import Force
from speechvq.errors import BadSetting

if TYPE_CHECKING:
    from speechvq.codec import Codec

Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The file model.ckpt-N.pt.")]
Folder = Annotated[Path, typer.Argument(metavar="OUT", help="The codec's folder that is made.")]
Speakers = Annotated[
    Path | None,
    typer.Option("--speakers", metavar="FILE", help="The speakers.json of its data: names of the voices."),
]
Vocoder = Annotated[
    Path | None,
    typer.Option("--vocoder", metavar="FILE", help="The vocoder's model.ckpt-N.pt; without it, codes only."),
]
CodecIn = Annotated[str, typer.Argument(metavar="CODEC", help="The codec's folder.")]
File = Annotated[Path, typer.Argument(metavar="OUT", help="The file that is made, such as model.ckpt-0.pt.")]
Step = Annotated[int, typer.Option("--step", min=0, help="The training step that the file tells.")]
Names = Annotated[Path | None, typer.Option("--speakers", metavar="FILE", help="Also write a speakers.json.")]


def register(app: typer.Typer) -> None:
    """Add both verbs and what they know."""
    coming = typer.Typer(no_args_is_help=True)
    coming.command(epilog="Example: speechvq import zerospeech model.ckpt-500000.pt codec")(zerospeech)
    coming.command(epilog="Example: speechvq import vqcpc cpc.pt codec --vocoder vocoder.pt")(vqcpc)
    coming.callback()(_coming)
    epilog = "Example: speechvq import zerospeech model.ckpt-500000.pt codec --speakers speakers.json"
    app.add_typer(coming, name="import", help="Published weights to folders.", epilog=epilog)
    going = typer.Typer(no_args_is_help=True)
    epilog = "Example: speechvq export zerospeech codec model.ckpt-0.pt"
    going.command("zerospeech", epilog=epilog)(export)
    going.callback()(_going)
    import_pictures.register(coming, going)
    app.add_typer(going, name="export", help="A model to the published form.", epilog=epilog)


def _coming() -> None:
    """Published weights to folders."""


def _going() -> None:
    """A model to the published form."""


def zerospeech(
    checkpoint: Checkpoint, out: Folder, *, speakers: Speakers = None, force: Force = False
) -> None:
    """The VQ-VAE of bshall/ZeroSpeech: units, and every voice that it was trained on."""
    from speechvq.bridge.zerospeech import KIND, import_zerospeech

    _keep(lambda: import_zerospeech(checkpoint, speakers=speakers), out, f"{KIND}, {checkpoint.name}", force)


def vqcpc(
    checkpoint: Checkpoint,
    out: Folder,
    *,
    vocoder: Vocoder = None,
    speakers: Speakers = None,
    force: Force = False,
) -> None:
    """The contrastive model of bshall/VectorQuantizedCPC: units, and voices if there is a vocoder."""
    from speechvq.bridge.vqcpc import KIND, import_vqcpc

    if speakers is not None and vocoder is None:
        raise BadSetting("--speakers names the voices of a vocoder; give --vocoder too, or leave it out")
    made = f"{KIND}, {checkpoint.name}" + (f" and {vocoder.name}" if vocoder else "")
    _keep(lambda: import_vqcpc(checkpoint, vocoder=vocoder, speakers=speakers), out, made, force)


def export(
    codec: CodecIn, out: File, *, step: Step = 0, speakers: Names = None, force: Force = False
) -> None:
    """A checkpoint that the code of bshall/ZeroSpeech converts and encodes with."""
    from speechvq.bridge.zerospeech import export_zerospeech
    from speechvq.codec import Codec

    export_zerospeech(Codec.from_pretrained(codec), out, step=step, speakers=speakers, force=force)
    Console(stderr=True).print(f"written: {out}", soft_wrap=True)


def _keep(make: Callable[[], "Codec"], out: Path, origin: str, force: bool) -> None:
    """Make the codec, unless there is already one, and say what it is."""
    from speechvq.store.weights import refuse_folder

    if out.exists() and not out.is_dir():
        raise BadSetting(f"{out} is a file; give the name of a folder")
    refuse_folder(out, force=force)
    codec = make()
    weights = sum(parameter.numel() for parameter in codec.parameters())
    size, voices = codec.quantizer.codebook_size, codec.decoder.speakers
    card = (
        f"Imported by speechvq from {origin}.\n\n"
        f"{weights:,} parameters, {size} codes, {codec.frame_rate:g} a second, "
        f"{len(voices)} voices. The weights are their authors'.\n"
    )
    codec.save_pretrained(out, card=card)
    spoken = f"{len(voices)} voices, such as {voices[0]}" if voices else "no voices: codes only"
    Console(stderr=True).print(f"imported: {out} ({weights:,} parameters, {spoken})", soft_wrap=True)
