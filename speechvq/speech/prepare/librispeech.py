"""LibriSpeech: ``<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`` with ``.trans.txt`` beside.

The subsets are the splits: train-* trains, dev-* validates, test-* tests. Where no dev or no test subset is
there (or chosen), that split is held out of the training utterances instead.
"""

from pathlib import Path

from speechvq.errors import UnknownName
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import files_under, hold_out, inside

SUBSETS = {
    "train-clean-100": "train",
    "train-clean-360": "train",
    "train-other-500": "train",
    "dev-clean": "valid",
    "dev-other": "valid",
    "test-clean": "test",
    "test-other": "test",
}


def librispeech(
    root: Path,
    out: Path,
    *,
    options: Options | None = None,
    subsets: tuple[str, ...] | None = None,
    alignments: Path | None = None,
) -> Prepared:
    """List LibriSpeech; ``subsets`` None takes all that are there.

    A TextGrid is taken from beside its recording or, in the same tree, from below ``alignments``.

    Raises:
        BadSetting: the layout is not there.
        UnknownName: a subset is not in LibriSpeech.
    """
    options = options or Options()
    for name in subsets or ():
        if name not in SUBSETS:
            raise UnknownName("LibriSpeech subset", name, list(SUBSETS))
    layout = "train-clean-100/<speaker>/<chapter>/*.flac, dev-clean/... and the like"
    top = inside(root, subsets or tuple(SUBSETS), corpus="LibriSpeech", layout=layout).parent
    chosen = [name for name in subsets or SUBSETS if (top / name).is_dir()]
    missing = sorted(set(subsets or ()) - set(chosen))
    if missing:
        raise UnknownName(f"subset in {top}", missing[0], [name for name in SUBSETS if (top / name).is_dir()])
    found = [(name, path) for name in chosen for path in files_under(top / name, suffixes=(".flac",))]
    there = {SUBSETS[name] for name in chosen}
    shares = {name: getattr(options, name) if name not in there else 0.0 for name in ("valid", "test")}
    train = [path.stem for name, path in found if SUBSETS[name] == "train"]
    held = hold_out(train, seed=options.seed, **shares)
    texts: dict[str, str] = {}
    for folder in sorted({path.parent for _, path in found}):
        texts |= _texts(folder)
    recordings = []
    for name, path in found:
        split = held.get(path.stem, SUBSETS[name])
        grids = [path.with_suffix(".TextGrid")]
        if alignments is not None:
            grids.append(alignments / path.relative_to(top).with_suffix(".TextGrid"))
        alignment = next((grid for grid in grids if grid.is_file()), None)
        speaker, text = path.stem.split("-")[0], texts.get(path.stem)
        recordings.append(Recording(path, speaker, path.stem, split, text=text, alignment=alignment))
    return gather(recordings, out, options, source=f"LibriSpeech in {top}")


def _texts(folder: Path) -> dict[str, str]:
    """Utterance to text, from a chapter's ``.trans.txt``."""
    texts = {}
    for path in folder.glob("*.trans.txt"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, text = line.partition(" ")
            texts[name] = text.strip()
    return texts
