"""Speaker embeddings of every training recording of a manifest, for decoders that speak from a reference.

    python embed.py data/speech.jsonl data/embeddings.npz

A GE2E embedding (256 numbers, Resemblyzer) by "speaker/utterance"; goes on where it was interrupted.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speechvq.score.speech import speaker_embedding
from speechvq.speech.audio import read_audio
from speechvq.store.atomic import atomic
from speechvq.store.manifest import read_manifest

EVERY = 500  # recordings between two saves


def main(manifest: Path, out: Path) -> None:
    """Embed what is not yet in ``out``."""
    done = dict(np.load(out)) if out.exists() else {}
    entries = [e for e in read_manifest(manifest) if e.split != "test"]
    for count, entry in enumerate(tqdm(entries, desc="embedding"), 1):
        key = f"{entry.speaker}/{entry.utterance}"
        if key not in done:
            wave = read_audio(entry.path, start=entry.start, duration=entry.duration)
            done[key] = speaker_embedding(wave[0]).numpy()
        if count % EVERY == 0 or count == len(entries):
            with atomic(out) as temporary, temporary.open("wb") as file:
                np.savez(file, **done)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
