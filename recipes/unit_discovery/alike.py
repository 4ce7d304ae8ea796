"""How alike the units of two runs are, whatever they call them: k-means of two seeds, and codecs.

python alike.py checkpoints/speech-units data/flite/manifest.jsonl alike.json [--other runs/second/codec]
"""

import argparse
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from baselines import BASELINES, clusters, frames, streams
from compare import TRAIN, chosen
from measure import Row

from speechvq import Codec
from speechvq.score.streams import Stream, encode_streams
from speechvq.score.voices import stability
from speechvq.store.atomic import atomic
from speechvq.store.manifest import read_manifest


def main(codec: Path, manifest: Path, out: Path, *, others: Sequence[Path] = (), train: int = TRAIN) -> None:
    """Write a row a pair to ``out``, as JSON."""
    parts, model = chosen(read_manifest(manifest), train, 0), Codec.from_pretrained(codec)
    size, test = model.quantizer.codebook_size, parts["test"]
    rows = []
    codecs = {"ours": encode_streams(model, test)}
    for place, folder in enumerate(others, 1):
        codecs[f"small codec, seed {place}"] = encode_streams(Codec.from_pretrained(folder), test)
    rows += [_row(f"{a} and {b}", codecs[a], codecs[b]) for a, b in combinations(codecs, 2)]
    for baseline in BASELINES[:2]:
        found = {name: frames(baseline, parts[name]) for name in ("train", "test")}
        one, two = (
            streams(found["test"], clusters(found["train"], size, seed=seed), test, {}) for seed in (0, 1)
        )
        rows.append(_row(f"{baseline.name}: two seeds", one, two))
        rows.append(_row(f"ours and {baseline.name}", codecs["ours"], one))
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _row(name: str, first: Sequence[Stream], second: Sequence[Stream]) -> Row:
    found = stability(first, second)
    return {
        "name": name, "frames": found.frames, "ami": found.ami, "ari": found.ari,
        "v_measure": found.v_measure, "one_to_one": found.one_to_one,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for argument in ("codec", "manifest", "out"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--other", type=Path, action="append", dest="others", default=[])
    parser.add_argument("--train", type=int, default=TRAIN, help="recordings that k-means learns from")
    main(**vars(parser.parse_args()))
