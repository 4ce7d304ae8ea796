"""The recordings that ship with the checkpoint: sentences it never heard, spoken by flite's four voices.

    python examples.py checkpoints/speech/examples

One held-out sentence for each voice is split "test" (what `speechvq demo` converts); the same sentence in the
other voices is there to compare with, and two more sentences a voice tell what the voices are like.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.prepare.flite import VOICES, flite
from speechvq.speech.prepare.gather import Options
from speechvq.speech.prepare.process import Processing
from speechvq.store.manifest import Entry, write_manifest

REFERENCES = 2


def main(out: Path) -> None:
    """Synthesise, choose, copy and list."""
    options = Options(valid=0.0, test=0.75, seed=20, processing=Processing(normalise="peak"))
    with tempfile.TemporaryDirectory() as folder:
        count = len(VOICES) + REFERENCES
        made = flite(None, Path(folder), options=options, sentences=2 * count, parallel=True)
        unheard = [entry for entry in made.entries if entry.split == "test"]
        sentences = sorted({entry.utterance for entry in unheard})[:count]
        chosen = [entry for entry in unheard if entry.utterance in sentences]
        kept = [_copy(entry, sentences.index(entry.utterance), out) for entry in chosen]
    write_manifest(out / "examples.jsonl", sorted(kept, key=lambda e: (e.utterance, e.speaker)))


def _copy(entry: Entry, number: int, out: Path) -> Entry:
    path = out / f"{number + 1:02d}_{entry.speaker}.flac"
    write_audio(path, read_audio(entry.path), 16_000)
    source = number < len(VOICES) and VOICES[number] == entry.speaker
    return replace(entry, path=str(path.resolve()), split="test" if source else "valid", alignment=None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
