"""LJSpeech 1.1: ``wavs/LJ001-0001.wav`` and ``metadata.csv`` with ``id|text|text with numbers in words``."""

from pathlib import Path

from speechvq.errors import BadAudio, BadSetting
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import hold_out, inside

SPEAKER = "lj"


def ljspeech(root: Path, out: Path, *, options: Options | None = None) -> Prepared:
    """List LJSpeech; it has no split of its own, so utterances are held out by their ids.

    Raises:
        BadSetting: the layout is not there.
    """
    options = options or Options()
    sounds = inside(root, ("wavs",), corpus="LJSpeech", layout="wavs/LJ001-0001.wav ... and metadata.csv")
    try:
        lines = (sounds.parent / "metadata.csv").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadSetting(f"{sounds.parent} has no metadata.csv, which says what is read") from error
    texts = {name: fields[-1].strip() for name, *fields in (line.split("|") for line in lines) if fields}
    splits = hold_out(texts, valid=options.valid, test=options.test, seed=options.seed)
    recordings = [
        Recording(sounds / f"{name}.wav", SPEAKER, name, splits[name], text=text or None)
        for name, text in texts.items()
    ]
    unlisted = [path for path in sorted(sounds.glob("*.wav")) if path.stem not in texts]
    left_out = [BadAudio(path, "is not in metadata.csv") for path in unlisted]
    return gather(recordings, out, options, left_out=left_out, source=f"LJSpeech in {root}")
