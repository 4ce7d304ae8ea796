"""Any folder of recordings in the layout ROOT/<speaker>/**/<name>.<wav|flac|ogg|opus|mp3>.

A text file beside a recording (``<name>.txt``) is its text, a ``<name>.TextGrid`` its alignment. The
utterance is the path below the speaker's folder, so parallel recordings are known by equal names.
"""

from pathlib import Path

from speechvq.errors import BadAudio
from speechvq.speech.audio import AUDIO_SUFFIXES
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import files_under, hold_out, text_of

FOREIGN = (".m4a", ".aac", ".wma", ".webm", ".mp4", ".amr", ".ape", ".3gp")


def folder(root: Path, out: Path, *, options: Options | None = None, speaker: str | None = None) -> Prepared:
    """List the recordings under ``root``; with ``speaker``, all of them are that one voice's.

    Raises:
        BadSetting: there is no such folder, or nothing in it can be used.
        BadAudio: a recording is bad and ``options.on_bad`` is "refuse".
    """
    options = options or Options()
    found: list[tuple[Path, str, str]] = []
    bad: list[BadAudio] = []
    for path in files_under(root, suffixes=(*AUDIO_SUFFIXES, *FOREIGN)):
        inside = path.relative_to(root).with_suffix("")
        if path.suffix.lower() in FOREIGN:
            bad.append(BadAudio(path, f"is {path.suffix.lower()}; convert it to flac or wav first"))
        elif speaker is not None:
            found.append((path, speaker, inside.as_posix()))
        elif len(inside.parts) == 1:
            bad.append(BadAudio(path, "lies in no speaker's folder"))
        else:
            found.append((path, inside.parts[0], "/".join(inside.parts[1:])))
    splits = hold_out((name for *_, name in found), valid=options.valid, test=options.test, seed=options.seed)
    recordings = []
    for path, voice, name in found:
        grid = path.with_suffix(".TextGrid")
        alignment = grid if grid.is_file() else None
        text = text_of(path.with_suffix(".txt"))
        recordings.append(Recording(path, voice, name, splits[name], text=text, alignment=alignment))
    return gather(recordings, out, options, bad=bad, source=f"{root} (read as ROOT/<speaker>/**)")
