"""ZeroSpeech 2019: ``<language>/train/{unit,voice}/*.wav``, ``<language>/test/*.wav``, ``vads.txt``.

The unit set (many speakers) and the voice set (the targets V001, V002) train together; validation is held
out of both by utterance. The parallel set is not used. Speakers are the names before the underscore.
"""

from pathlib import Path

from speechvq.errors import BadAudio, BadSetting, UnknownName
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import files_under, hold_out, inside

LANGUAGES = ("english", "english_small", "surprise")


def zerospeech2019(
    root: Path, out: Path, *, options: Options | None = None, language: str = "english", vad: bool = False
) -> Prepared:
    """List one language; with ``vad`` only the stretches of speech that ``vads.txt`` names.

    ``options.test`` is not used: the corpus has a test set.

    Raises:
        BadSetting: the layout or the asked-for ``vads.txt`` is not there.
        UnknownName: the language is none of `LANGUAGES`.
    """
    options = options or Options()
    if language not in LANGUAGES:
        raise UnknownName("ZeroSpeech 2019 language", language, list(LANGUAGES))
    layout = f"{language}/train/unit, {language}/train/voice and {language}/test"
    top = inside(root, (language,), corpus="ZeroSpeech 2019", layout=layout)
    train = [
        path
        for name in ("unit", "voice")
        if (top / "train" / name).is_dir()
        for path in files_under(top / "train" / name, suffixes=(".wav",))
    ]
    test = list(files_under(top / "test", suffixes=(".wav",))) if (top / "test").is_dir() else []
    splits = hold_out((path.stem for path in train), valid=options.valid, test=0.0, seed=options.seed)
    speech = _speech(top) if vad else None
    recordings, left_out = [], []
    for path in (*train, *test):
        split, speaker = splits.get(path.stem, "test"), path.stem.split("_")[0]
        if speech is None or split == "test":  # the challenge synthesises whole test files
            recordings.append(Recording(path, speaker, path.stem, split))
            continue
        parts = speech.get(path.stem, [])
        for number, (start, end) in enumerate(parts):
            name = path.stem if len(parts) == 1 else f"{path.stem}-{number}"
            recordings.append(Recording(path, speaker, name, split, start=start, duration=end - start))
        if not parts:
            left_out.append(BadAudio(path, "has no speech in vads.txt"))
    return gather(recordings, out, options, left_out=left_out, source=f"ZeroSpeech 2019 in {top}")


def _speech(top: Path) -> dict[str, list[tuple[float, float]]]:
    """Utterance to its stretches of speech, seconds, from lines ``utterance start end``."""
    path = next(
        (p for p in (top / "vads.txt", top.parent / "vads.txt", *top.rglob("vads.txt")) if p.is_file()), None
    )
    if path is None:
        raise BadSetting(f"there is no vads.txt in {top}; leave `vad` off")
    speech: dict[str, list[tuple[float, float]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            name, start, end = line.replace(",", " ").split()
            speech.setdefault(Path(name).stem, []).append((float(start), float(end)))
        except ValueError as error:
            if number > 1 and line.strip():  # the first line may name the columns
                raise BadSetting(f"{path}, line {number}: expected `utterance start end`") from error
    return speech
