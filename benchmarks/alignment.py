"""How near the phone times of `speechvq align` come to exact ones.

    python benchmarks/alignment.py MANIFEST ALIGNED [--split test] [--json FILE]

MANIFEST names the exact phone times (``speechvq prepare flite``), ALIGNED those of the same recordings by
`speechvq align`. All labels are folded to the 39 classes of TIMIT and SIL; frames are of 10 ms. A boundary
counts where both phone sequences have the same two phones beside it (two dictionaries do not always agree).
"""

import argparse
import json
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from speechvq.store.alignments import SILENCE, Folding, Interval, align_entries, phones_at
from speechvq.store.manifest import Entry, read_manifest

RATE = 100.0
FOLDING = Folding(timit39=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("aligned", type=Path)
    parser.add_argument("--split", default="test", choices=("train", "valid", "test", "all"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = compare(_entries(asked.manifest, asked.split), _entries(asked.aligned, asked.split))
    for name, value in found.items():
        print(f"{name:32} {value:.6g}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def compare(exact: Sequence[Entry], aligned: Sequence[Entry]) -> dict[str, float]:
    """The figures over all recordings that are in both."""
    ours, theirs = align_entries(aligned, folding=FOLDING), align_entries(exact, folding=FOLDING)
    place = {(e.path, e.start): at for at, e in enumerate(aligned)}
    pairs = []
    for at, entry in enumerate(exact):
        other = place.get((entry.path, entry.start))
        if at in theirs and other in ours and aligned[other].alignment != entry.alignment:
            pairs.append((theirs[at], ours[other], round(entry.duration * RATE)))
    if not pairs:
        raise SystemExit("no recording has both phone times")
    errors = np.concatenate([_errors(a, b) for a, b, _ in pairs]) * 1000
    frames = [_frames(a, b, count) for a, b, count in pairs]
    same, total, spoken_same, spoken = np.sum(frames, axis=0)
    phones = sum(len(a) - 1 for a, _, _ in pairs)
    return {
        "recordings": len(pairs),
        "boundaries compared": len(errors),
        "of all boundaries": len(errors) / phones,
        "mean |error|, ms": float(np.abs(errors).mean()),
        "median |error|, ms": float(np.median(np.abs(errors))),
        "mean error (late is above 0), ms": float(errors.mean()),
        "within 20 ms": float((np.abs(errors) <= 20).mean()),
        "within 50 ms": float((np.abs(errors) <= 50).mean()),
        "frames that agree": float(same / total),
        "of those not silent": float(spoken_same / spoken),
    }


def _entries(manifest: Path, split: str) -> list[Entry]:
    return [e for e in read_manifest(manifest) if split in (e.split, "all")]


def _errors(exact: Sequence[Interval], ours: Sequence[Interval]) -> np.ndarray:
    """Seconds by which our boundaries between the same two phones are late."""
    labels = [i.label for i in exact], [i.label for i in ours]
    blocks = SequenceMatcher(None, *labels, autojunk=False).get_matching_blocks()
    return np.array(
        [ours[block.b + k].start - exact[block.a + k].start for block in blocks for k in range(1, block.size)]
    )


def _frames(exact: Sequence[Interval], ours: Sequence[Interval], count: int) -> tuple[int, int, int, int]:
    """Frames with equal labels, all frames; the same of frames that hold speech by the exact times."""
    pairs = list(zip(phones_at(exact, RATE, count), phones_at(ours, RATE, count), strict=True))
    known = [(a, b) for a, b in pairs if a is not None]
    spoken = [(a, b) for a, b in known if a != SILENCE]
    return sum(a == b for a, b in known), len(known), sum(a == b for a, b in spoken), len(spoken)


if __name__ == "__main__":
    main()
