"""``speechvq generate``: speech that nobody said, pictures that nobody took; or something gone on with.

The codec's room decides which: speech in a voice of the codec, or pictures.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechvq.cli.drawing import Guidance, MaxRun, NoRepeat, Penalty, Seed, Temperature, TopK, TopP, drawing
from speechvq.cli.options import CodecFolder, Device, Force, load_codec
from speechvq.cli.pictures import PICTURES, ToldCodec, named
from speechvq.cli.prepare_pictures import read_size
from speechvq.errors import BadSetting

if TYPE_CHECKING:
    from speechvq.codec import Codec
    from speechvq.prior import Prior
    from speechvq.serve.dream import Dream

PriorFolder = Annotated[Path, typer.Argument(metavar="PRIOR", help="The prior's folder.")]
Target = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Sound or picture file; with --count 3: FILE-1, -2, -3.",
        show_default="babble.wav, or dream.png",
    ),
]
Speaker = Annotated[
    str | None, typer.Option("--speaker", "-s", metavar="NAME", help="Who speaks: known to codec and prior.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", help="How much to make up.", show_default="5.0, or all it knows")
]
Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="FILE",
        help="Go on from this recording, spoken again first; or from the top of this picture.",
    ),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many.")]
PixelSize = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|WxH",
        help="Pixels a side, or width x height.",
        show_default="what the prior knows",
        rich_help_panel=PICTURES,
    ),
]
Grid = Annotated[
    str | None,
    typer.Option(
        "--grid", metavar="HxW", help="The same as rows x columns of codes.", rich_help_panel=PICTURES
    ),
]
Label = Annotated[
    str | None, typer.Option("--label", metavar="NAME", help="What it shows.", rich_help_panel=PICTURES)
]
Told = Annotated[
    list[str] | None,
    typer.Option(
        "--told",
        metavar="NAME=FILE",
        help="What it is to be like: depth (grey), segmentation (class numbers), edges or low "
        "(of a picture). May be said again.",
        rich_help_panel=PICTURES,
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        help="Rows of codes that are kept of the picture to go on from.",
        show_default="half",
        rich_help_panel=PICTURES,
    ),
]
OnSheet = Annotated[
    bool, typer.Option("--sheet", help="All on one sheet, small ones enlarged.", rich_help_panel=PICTURES)
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        epilog="Example: speechvq generate runs/speech_prior/prior --speaker slt --seconds 5. Of pictures: "
        "speechvq generate runs/image_pixelcnn/prior --codec runs/image_vqvae/codec --size 28 --label Bag"
    )(generate)


def generate(
    prior: PriorFolder,
    *,
    out: Target = None,
    codec: CodecFolder = None,
    speaker: Speaker = None,
    seconds: Seconds = None,
    given: Continue = None,
    count: Count = 1,
    temperature: Temperature = "1.0",
    top_k: TopK = "0",
    top_p: TopP = "1.0",
    guidance: Guidance = 1.0,
    penalty: Penalty = 1.0,
    max_run: MaxRun = 0,
    no_repeat: NoRepeat = 0,
    seed: Seed = 0,
    size: PixelSize = None,
    grid: Grid = None,
    label: Label = None,
    told: Told = None,
    told_codec: ToldCodec = None,
    rows: Rows = None,
    sheet: OnSheet = False,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Make up speech, in a voice, or pictures; or go on with a recording or a picture."""
    from rich.console import Console

    from speechvq.prior import Prior, Steering

    of_sound = {"speaker": speaker, "seconds": seconds}
    of_pictures = _Pictures(size, grid, label, told, told_codec, rows, sheet or None)
    how = {
        "sampling": drawing(temperature, top_k, top_p, seed),
        "steering": Steering(guidance, penalty=penalty, max_run=max_run, no_repeat=no_repeat),
    }
    loaded = load_codec(codec, device)
    model = Prior.from_pretrained(prior).to(next(loaded.parameters()).device)
    out = out or Path("dream.png" if loaded.room == "image" else "babble.wav")
    alone = count == 1 or sheet
    targets = [out] if alone else [out.with_stem(f"{out.stem}-{i}") for i in range(1, count + 1)]
    if loaded.room == "image":
        _leave_out(of_sound, "speech", "pictures")
        from speechvq.serve.dream import dream

        wish = of_pictures.wish(given, device, how)
        dream(model, loaded, targets, wish, on_sheet=count if sheet else 0, force=force)
    else:
        _leave_out(asdict(of_pictures), "pictures", loaded.room)
        from speechvq.serve.babble import Wish, babble

        wish = Wish(speaker, _seconds(model, loaded) if seconds is None else seconds, **how)
        babble(model, loaded, targets, wish, recording=given, force=force)
    for target in targets:
        Console(stderr=True, highlight=False).print(f"made up: {target}", soft_wrap=True)


@dataclass(frozen=True)
class _Pictures:
    """The options that are of pictures, by their names; None where one was not given."""

    size: str | None
    grid: str | None
    label: str | None
    told: list[str] | None
    told_codec: list[str] | None
    rows: int | None
    sheet: bool | None

    def wish(self, start: Path | None, device: str, how: Mapping[str, Any]) -> "Dream":
        """What is asked for, with ``how`` it is drawn."""
        from speechvq.serve.dream import Dream

        told, folders = named("--told", self.told), named("--told-codec", self.told_codec)
        return Dream(
            grid=None if self.grid is None else _grid(self.grid),
            size=None if self.size is None else read_size(self.size),
            label=self.label,
            told=told,
            codecs={name: load_codec(folder, device) for name, folder in folders.items()},
            start=start,
            rows=self.rows,
            **how,
        )


def _seconds(prior: "Prior", codec: "Codec", most: float = 5.0) -> float:
    """How long something is unless said: no longer than the places that the prior has learned."""
    places = getattr(prior, "grid", ())
    return min(most, places[0] / codec.frame_rate) if len(places) == 1 else most


def _leave_out(options: Mapping[str, Any], kind: str, room: str) -> None:
    """Refuse options that are of another kind than the codec."""
    for name, value in options.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise BadSetting(f"{option} is for {kind}, and this codec is of {room}; leave it out")


def _grid(text: str) -> tuple[int, int]:
    """``8`` or ``8x12``, rows first."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text.strip().lower())
    if match is None:
        raise BadSetting(f"--grid {text} is not a grid; give codes a side (8), or rows x columns (8x12)")
    return int(match[1]), int(match[2] or match[1])
