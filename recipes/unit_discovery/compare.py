"""Score the units of a codec beside k-means of MFCC and log-mel frames, on speech that none has heard.

    python compare.py checkpoints/speech data/flite/manifest.jsonl outputs/unit_discovery results.md

All have as many units as the codec's codebook and 50 frames a second. The k-means learns from the train
split; the map from units to phones comes from the same recordings for everyone; scores are of the whole
test split. A row that is done is kept in OUT/rows-* and not made again.
"""

import argparse
import json
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from baselines import BASELINES, Baseline, clusters, frames, streams
from measure import Encoded, Row, row
from page import page

from speechvq import Codec
from speechvq.score.streams import code_vectors, encode_streams
from speechvq.store.alignments import align_entries
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry, read_manifest

log = logging.getLogger("unit_discovery")
TRAIN, VALID = 1000, 40
SPLITS = ("train", "valid", "test")
type Parts = dict[str, list[Entry]]


def main(
    codec: Path, manifest: Path, out: Path, results: Path, train: int = TRAIN, valid: int = VALID
) -> None:
    """Make the rows that are missing, then ``OUT/results.json`` and the page ``results``."""
    parts = chosen(read_manifest(manifest), train, valid)
    model = Codec.from_pretrained(codec)
    size = model.quantizer.codebook_size
    # Rows of other samples are other rows: a name of their own keeps them apart.
    rows_of = "rows-" + "-".join(str(len(part)) for part in parts.values())
    ways: dict[str, Callable[[], Encoded]] = {f"codec {model.fingerprint[:8]}": partial(ours, model, parts)}
    ways |= {f"{b.name}, {size}": partial(theirs, b, parts, size) for b in BASELINES}
    rows = []
    for name, encode in ways.items():
        kept = out / rows_of / f"{name.replace(', ', '_').replace(' ', '_')}.json"
        if not kept.exists():
            log.info("scoring %s", name)
            _write(kept, row(encode()))
        rows.append(json.loads(kept.read_text(encoding="utf-8")))
    _write(out / "results.json", rows)
    with atomic(results) as temporary:
        temporary.write_text(page(rows, {name: len(part) for name, part in parts.items()}), encoding="utf-8")


def chosen(entries: Sequence[Entry], train: int, valid: int, *, seed: int = 0) -> Parts:
    """Up to ``train`` and ``valid`` recordings of these splits, drawn at random, and the whole test split."""
    parts = {name: [e for e in entries if e.split == name and e.alignment] for name in SPLITS}
    order = random.Random(seed)
    for name, most in (("train", train), ("valid", valid)):
        parts[name] = order.sample(parts[name], min(most, len(parts[name])))
    return parts


def ours(codec: Codec, parts: Parts) -> Encoded:
    """The codec's units."""
    made = {name: encode_streams(codec, e, align_entries(e), vectors=True) for name, e in parts.items()}
    return Encoded("ours", code_vectors(codec), made["train"], made["valid"], made["test"])


def theirs(baseline: Baseline, parts: Parts, size: int) -> Encoded:
    """Those of k-means."""
    found = {name: frames(baseline, entries) for name, entries in parts.items()}
    codes = clusters(found["train"], size)
    made = {name: streams(found[name], codes, e, align_entries(e)) for name, e in parts.items()}
    return Encoded(baseline.name, codes.numpy(), made["train"], made["valid"], made["test"])


def _write(path: Path, content: list[Row] | Row) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for argument in ("codec", "manifest", "out", "results"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--train", type=int, default=TRAIN, help="recordings to learn and map from")
    parser.add_argument("--valid", type=int, default=VALID, help="recordings to choose the segmentation by")
    main(**vars(parser.parse_args()))
