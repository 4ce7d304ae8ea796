"""``speechvq generate``: speech that nobody said, in a voice of the codec; or a recording gone on with."""

from pathlib import Path
from typing import Annotated

import typer

from speechvq.cli.options import CodecFolder, Device, Force, load_codec

PriorFolder = Annotated[Path, typer.Argument(metavar="PRIOR", help="The prior's folder.")]
Target = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Sound file; with --count 3: FILE-1, -2, -3.")
]
Speaker = Annotated[
    str | None, typer.Option("--speaker", "-s", metavar="NAME", help="Who speaks: known to codec and prior.")
]
Seconds = Annotated[float, typer.Option("--seconds", help="How much to make up.")]
Continue = Annotated[
    Path | None,
    typer.Option("--continue", metavar="FILE", help="Go on from this recording, spoken again first."),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0, help="Below 1 is calmer.")]
TopK = Annotated[int, typer.Option("--top-k", min=0, help="Draw among the k likeliest codes; 0 for all.")]
TopP = Annotated[float, typer.Option("--top-p", help="Draw among the likeliest that hold this share.")]
Guidance = Annotated[
    float, typer.Option("--guidance", min=0, help="Above 1 sounds more like the speaker than anybody does.")
]
Penalty = Annotated[float, typer.Option("--penalty", help="How much less likely a recent code becomes.")]
MaxRun = Annotated[
    int, typer.Option("--max-run", min=0, help="Longest run of one code; 0 for as long as it likes.")
]
NoRepeat = Annotated[
    int, typer.Option("--no-repeat", min=0, help="Never the same so many codes in a row again; 0: allowed.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of what is drawn.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: speechvq generate runs/speech_prior/prior --speaker slt --seconds 5")(
        generate
    )


def generate(
    prior: PriorFolder,
    *,
    out: Target = Path("babble.wav"),
    codec: CodecFolder = None,
    speaker: Speaker = None,
    seconds: Seconds = 5.0,
    recording: Continue = None,
    count: Count = 1,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    guidance: Guidance = 1.0,
    penalty: Penalty = 1.0,
    max_run: MaxRun = 0,
    no_repeat: NoRepeat = 0,
    seed: Seed = 0,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Make up speech with a prior, in a voice; or go on with a recording."""
    from rich.console import Console

    from speechvq.nets.sampling import Sampling
    from speechvq.prior import Prior, Steering
    from speechvq.serve.babble import Wish, babble

    wish = Wish(
        speaker,
        seconds,
        Sampling(temperature, top_k, top_p, seed),
        Steering(guidance, penalty=penalty, max_run=max_run, no_repeat=no_repeat),
    )
    loaded = load_codec(codec, device)
    model = Prior.from_pretrained(prior).to(next(loaded.parameters()).device)
    targets = [out] if count == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, count + 1)]
    babble(model, loaded, targets, wish, recording=recording, force=force)
    for target in targets:
        Console(stderr=True, highlight=False).print(f"made up: {target}", soft_wrap=True)
