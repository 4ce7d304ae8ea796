"""``speechvq encode``, ``decode`` and ``convert``: recordings to codes, codes to voices, and both.

With a codec of pictures, ``encode`` and ``decode`` take pictures in place of recordings.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from speechvq.cli.options import (
    CodecFolder,
    Device,
    Force,
    In,
    OnBad,
    Out,
    Reference,
    Resume,
    Seed,
    Speaker,
    Temperature,
    TopK,
    TopP,
    choose_sampling,
    choose_voice,
    load_codec,
)
from speechvq.errors import BadSetting
from speechvq.serve.bulk import STANDARD, Bad, Job, plan, run

Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Speak while IN still comes: - (a WAV stream, or raw 16-bit mono at the codec's rate), "
        "microphone (until Ctrl-C), or a file.",
    ),
]
Lag = Annotated[
    float | None,
    typer.Option(
        "--lag",
        metavar="MS",
        help="Of --live: from a sample to its sound, without computing. More is nearer to what converting "
        "the whole file gives, inf is the same. At 160 the shipped codec's first sound comes within 200 ms, "
        "computing included, and differs from that by 2.6 dB of log-mel.",
        show_default="160",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the three verbs."""
    app.command(epilog="Example: speechvq encode recordings/ codes/")(encode)
    app.command(epilog="Example: speechvq decode codes/ spoken/ --speaker slt")(decode)
    app.command(epilog="Example: speechvq convert me.wav slt.wav --speaker slt")(convert)


def encode(
    source: In,
    target: Out = None,
    *,
    codec: CodecFolder = None,
    bad: OnBad = Bad.REPORT,
    resume: Resume = False,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Turn recordings, or pictures, into code files (.svq)."""
    from speechvq.store.codes import SUFFIX

    if _of_pictures(codec):
        from speechvq.image.files import SUFFIXES
        from speechvq.serve.pictures import encode_picture

        work, known = encode_picture, SUFFIXES
    else:
        from speechvq.serve.files import encode_file
        from speechvq.speech.audio import AUDIO_SUFFIXES

        work, known = encode_file, AUDIO_SUFFIXES
    jobs = plan(source, target, suffixes=known, suffix=SUFFIX, force=force, resume=resume)
    loaded = load_codec(codec, device)
    _run(jobs, partial(work, loaded, force=force), bad, "encoding")


def decode(
    source: In,
    target: Out = None,
    *,
    speaker: Speaker = None,
    speaker_reference: Reference = None,
    codec: CodecFolder = None,
    bad: OnBad = Bad.REPORT,
    resume: Resume = False,
    force: Force = False,
    seed: Seed = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    device: Device = "cpu",
) -> None:
    """Speak code files in a voice, or turn them back into pictures."""
    from speechvq.serve.files import decode_file
    from speechvq.store.codes import SUFFIX

    suffix = ".png" if _of_pictures(codec) else ".wav"
    jobs = plan(source, target, suffixes=(SUFFIX,), suffix=suffix, force=force, resume=resume)
    loaded = load_codec(codec, device)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    voice = choose_voice(loaded, speaker, speaker_reference, seed, **how)
    if loaded.room == "image":
        from speechvq.serve.pictures import decode_picture

        sampling = choose_sampling(loaded, seed=seed, **how)
        _run(jobs, partial(decode_picture, loaded, sampling=sampling, force=force), bad, "decoding")
    else:
        _run(jobs, partial(decode_file, loaded, voice=voice, force=force), bad, "decoding")


def convert(
    source: In,
    target: Out = None,
    *,
    speaker: Speaker = None,
    speaker_reference: Reference = None,
    codec: CodecFolder = None,
    bad: OnBad = Bad.REPORT,
    resume: Resume = False,
    force: Force = False,
    seed: Seed = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    device: Device = "cpu",
    live: Live = False,
    lag: Lag = None,
) -> None:
    """Speak recordings in another voice."""
    if lag is not None and not live:
        raise BadSetting("--lag is of live conversion; give --live as well, or leave it out")
    if _of_pictures(codec):
        raise BadSetting("convert speaks recordings, and this codec is of pictures; use encode and decode")
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if live:
        if resume or bad is not Bad.REPORT:
            raise BadSetting("--resume and --bad are for many files; leave them out with --live")
        from speechvq.serve.follow import follow
        from speechvq.serve.live import LAG

        loaded = load_codec(codec, device)
        voice = choose_voice(loaded, speaker, speaker_reference, seed, **how)
        follow(loaded, source, target or STANDARD, voice=voice, lag=LAG if lag is None else lag, force=force)
        return
    from speechvq.serve.files import convert_file
    from speechvq.speech.audio import AUDIO_SUFFIXES

    jobs = plan(source, target, suffixes=AUDIO_SUFFIXES, suffix=".wav", force=force, resume=resume)
    loaded = load_codec(codec, device)
    voice = choose_voice(loaded, speaker, speaker_reference, seed, **how)
    _run(jobs, partial(convert_file, loaded, voice=voice, force=force), bad, "converting")


def _of_pictures(codec: str | None) -> bool:
    """Whether the codec in a folder is one of pictures; the shipped one is not."""
    from speechvq.store.weights import load_config

    return codec is not None and load_config(codec).get("room") == "image"


def _run(jobs: Sequence[Job], work: Callable[[str, str], None], bad: Bad, label: str) -> None:
    """Do the jobs, say what was done and what was skipped, and leave with the exit code."""
    console = Console(stderr=True)
    report = run(jobs, lambda job: work(job.source, job.target), bad=bad, label=label)
    if report.skipped:
        console.print(report.table())
    elif len(jobs) != 1:
        console.print(f"{label}: {report.done} done")
    if report.failed(bad):
        raise typer.Exit(1)
