"""Flags that several verbs share, and what becomes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechvq.errors import BadSetting
from speechvq.serve.bulk import Bad

if TYPE_CHECKING:
    from speechvq.codec import Codec
    from speechvq.nets.sampling import Sampling
    from speechvq.serve.files import Voice

In = Annotated[str, typer.Argument(metavar="IN", help="A file, a folder (its tree is kept), or - for stdin.")]
Out = Annotated[
    str | None, typer.Argument(metavar="OUT", help="A file, a folder, or - for stdout (- if IN is -).")
]
CodecFolder = Annotated[
    str | None,
    typer.Option("--codec", metavar="FOLDER", help="The codec's folder.", show_default="the shipped one"),
]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that are already there.")]
Resume = Annotated[bool, typer.Option("--resume", help="Leave out outputs that are already there.")]
OnBad = Annotated[
    Bad,
    typer.Option(
        "--bad", help="Bad files: list them and leave with code 1, list them only, or stop at once."
    ),
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")]
Speaker = Annotated[
    str | None, typer.Option("--speaker", "-s", metavar="NAME", help="A voice that the codec knows.")
]
Reference = Annotated[
    Path | None,
    typer.Option("--speaker-reference", metavar="FILE", help="Any other voice: a recording of it."),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**63 - 1, help="Of what the decoder draws.", show_default="0"),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", min=0, help="Of a sampling decoder (WaveNet, GRU, stacked): below 1 is calmer."
    ),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", min=0, help="Of a sampling decoder: draw among the k likeliest only.")
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Of a sampling decoder: draw among the likeliest that hold this share."),
]


def load_codec(folder: str | None, device: str = "cpu") -> "Codec":
    """The codec of a folder, or the shipped one, on a device."""
    import torch

    from speechvq.codec import Codec
    from speechvq.store.weights import shipped

    codec = Codec.from_pretrained(folder or shipped())
    try:
        return codec.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadSetting(f"the device {device!r} cannot be used here ({reason}); try --device cpu") from error


def choose_voice(
    codec: "Codec", speaker: str | None, reference: Path | None, seed: int | None = None, **how: Any
) -> "Voice":
    """The voice that the flags name and how to draw (as of `choose_sampling`), checked against the codec."""
    from speechvq.serve.files import Voice

    if speaker is not None and reference is not None:
        raise BadSetting("give --speaker or --speaker-reference, not both")
    if reference is not None and not codec.decoder.speakers:
        raise BadSetting("this codec's decoder is not conditioned on a voice; leave --speaker-reference out")
    sampling = choose_sampling(codec, **how)
    drawn = {"seed": seed or 0, "options": {} if sampling is None else {"sampling": sampling}}
    voice = Voice(speaker, **drawn)
    if reference is not None:
        from speechvq.score.speech import speaker_embedding

        embedding = speaker_embedding(reference)[None]
        voice = Voice(embedding.to(next(codec.parameters()).device), **drawn)
    voice.check(codec)
    return voice


def choose_sampling(codec: "Codec", **how: Any) -> "Sampling | None":
    """How a decoder that draws is to do so; None of one that does not.

    Args:
        codec: whose decoder it is.
        how: flags by the field of `Sampling` that they are of (seed, temperature, top_k, top_p); None where
            one was not given.

    Raises:
        BadSetting: a flag is given that nothing is drawn by, or is out of range.
    """
    from speechvq.nets.sampling import Draws, Sampling

    given = {name: value for name, value in how.items() if value is not None}
    if isinstance(codec.decoder, Draws):
        return Sampling(**given)
    if given:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise BadSetting(
            f"this codec's decoder ({codec.decoder.spec['name']}) does not sample; leave {flags} out"
        )
    return None
