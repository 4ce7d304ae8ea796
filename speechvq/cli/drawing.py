"""Flags of how codes are drawn, for all codebooks at once or, with commas, for one after the other."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from speechvq.errors import BadSetting

if TYPE_CHECKING:
    from speechvq.serve.drawing import Drawing

EACH = "; with commas: of each codebook of a stack, first to last."
Temperature = Annotated[
    str, typer.Option("--temperature", metavar="T[,T...]", help=f"Below 1 is calmer{EACH}")
]
TopK = Annotated[
    str, typer.Option("--top-k", metavar="K[,K...]", help=f"Draw among the k likeliest; 0 for all{EACH}")
]
TopP = Annotated[
    str,
    typer.Option("--top-p", metavar="P[,P...]", help=f"Draw among the likeliest that hold this share{EACH}"),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        min=0,
        help="Above 1 is more like the speaker, or what is told, than anything heard or seen.",
    ),
]
Penalty = Annotated[float, typer.Option("--penalty", help="How much less likely a recent code becomes.")]
MaxRun = Annotated[
    int, typer.Option("--max-run", min=0, help="Longest run of one code; 0 for as long as it likes.")
]
NoRepeat = Annotated[
    int, typer.Option("--no-repeat", min=0, help="Never the same so many codes in a row again; 0: allowed.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of what is drawn.")]


def drawing(temperature: str, top_k: str, top_p: str, seed: int) -> "Drawing":
    """What the flags ask for; those with one number have it for every codebook.

    Raises:
        BadSetting: no numbers, or of two flags different ones.
    """
    from speechvq.nets.sampling import Sampling

    flags = {
        "--temperature": _numbers("--temperature", temperature, float),
        "--top-k": _numbers("--top-k", top_k, int),
        "--top-p": _numbers("--top-p", top_p, float),
    }
    counts = {flag: len(values) for flag, values in flags.items() if len(values) > 1}
    if len(set(counts.values())) > 1:
        said = " and ".join(f"{flag} {count}" for flag, count in counts.items())
        raise BadSetting(f"{said} numbers do not go together; give one, or one for each codebook")
    most = max(map(len, flags.values()))
    each = zip(*(values * (most // len(values)) for values in flags.values()), strict=True)
    made = tuple(Sampling(t, k, p, seed) for t, k, p in each)
    return made[0] if most == 1 else made


def _numbers[N: (int, float)](flag: str, words: str, kind: Callable[[str], N]) -> tuple[N, ...]:
    try:
        return tuple(kind(word) for word in words.split(","))
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise BadSetting(f"{flag} {words} is not {what}, or several with commas between") from error
