"""One way to have units, scored: the codec, or k-means of MFCC or log-mel frames. One row of the tables.

    python compare.py codec checkpoints/speech-units data/flite/manifest.jsonl row.json

All have as many units as the codec's codebook and 50 frames a second. The k-means learns from the train
split; the map from units to phones comes from the same recordings for everyone; scores are of the whole
test split, which none has heard. With --speaker, only that voice: where a voice has few recordings, its
valid split is scored too, and the segmentation is chosen on train recordings.
"""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from baselines import BASELINES, Baseline, clusters, frames, streams
from measure import Encoded, row

from speechvq import Codec
from speechvq.score.streams import code_vectors, encode_streams
from speechvq.store.alignments import align_entries
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry, read_manifest

TRAIN, VALID = 1000, 40
SPLITS = ("train", "valid", "test")
CODEC = "codec"
WAYS = (CODEC, *(baseline.way for baseline in BASELINES))
type Parts = dict[str, list[Entry]]


def main(
    way: str,
    codec: Path,
    manifest: Path,
    out: Path,
    *,
    train: int = TRAIN,
    valid: int = VALID,
    speaker: str | None = None,
) -> None:
    """Score one of `WAYS` and write its row to ``out``, as JSON."""
    entries = read_manifest(manifest)
    if speaker is not None:
        entries = few([entry for entry in entries if entry.speaker == speaker])
    parts, model = chosen(entries, train, valid), Codec.from_pretrained(codec)
    known = {baseline.way: baseline for baseline in BASELINES}
    size = model.quantizer.codebook_size
    units = ours(model, parts) if way == CODEC else theirs(known[way], parts, size)
    learnt = {"map_recordings": len(parts["train"]), "codec": model.fingerprint if way == CODEC else ""}
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(row(units) | learnt, indent=1) + "\n", encoding="utf-8")


def chosen(entries: Sequence[Entry], train: int, valid: int, *, seed: int = 0) -> Parts:
    """Up to ``train`` and ``valid`` recordings of these splits, drawn at random, and the whole test split."""
    parts = {name: [e for e in entries if e.split == name and e.alignment] for name in SPLITS}
    order = random.Random(seed)
    for name, most in (("train", train), ("valid", valid)):
        parts[name] = order.sample(parts[name], min(most, len(parts[name])))
    return parts


def few(entries: Sequence[Entry]) -> list[Entry]:
    """Every recording held out becomes test, and every tenth that was not, valid."""
    train = [entry for entry in entries if entry.split == "train"]
    held = [replace(entry, split="test") for entry in entries if entry.split != "train"]
    return held + [
        replace(entry, split="train" if place % 10 else "valid") for place, entry in enumerate(train)
    ]


def ours(codec: Codec, parts: Parts) -> Encoded:
    """The codec's units."""
    made = {name: encode_streams(codec, e, align_entries(e), vectors=True) for name, e in parts.items()}
    return Encoded("ours", code_vectors(codec), made["train"], made["valid"], made["test"])


def theirs(baseline: Baseline, parts: Parts, size: int, *, seed: int = 0) -> Encoded:
    """Those of k-means."""
    found = {name: frames(baseline, entries) for name, entries in parts.items()}
    codes = clusters(found["train"], size, seed=seed)
    made = {name: streams(found[name], codes, e, align_entries(e)) for name, e in parts.items()}
    return Encoded(baseline.name, codes.numpy(), made["train"], made["valid"], made["test"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("way", choices=WAYS)
    for argument in ("codec", "manifest", "out"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--train", type=int, default=TRAIN, help="recordings to learn and map from")
    parser.add_argument("--valid", type=int, default=VALID, help="recordings to choose the segmentation by")
    parser.add_argument("--speaker", help="only this voice")
    main(**vars(parser.parse_args()))
