"""What needs no phones: code use, bitrates, durations and how much the units say about who speaks.

python recorded.py checkpoints/speech-units data/asterisk/manifest.jsonl voices.json --split test
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from measure import Row

from speechvq import Codec
from speechvq.score.language import code_scores, unit_durations
from speechvq.score.streams import Stream, encode_streams
from speechvq.score.voices import speaker_use
from speechvq.store.atomic import atomic
from speechvq.store.manifest import read_manifest


def main(codec: Path, manifest: Path, out: Path, splits: Sequence[str] = ("test",)) -> None:
    """Write a row a voice and one of all together to ``out``, as JSON."""
    entries = [entry for entry in read_manifest(manifest) if entry.split in splits]
    model = Codec.from_pretrained(codec)
    rows = voices(encode_streams(model, entries), model.quantizer.codebook_size)
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def voices(streams: Sequence[Stream], size: int) -> list[Row]:
    """One row a voice, in alphabetical order; the last is of all together."""
    use = speaker_use(streams, permutations=50)
    rows = []
    for voice in use.voices:
        own = [stream for stream in streams if stream.speaker == voice.speaker]
        rows.append(_row(voice.speaker, own, size) | {"bits_apart": voice.information})
    together: Row = {
        "chi2": use.chi2, "freedom": use.freedom, "p": use.p, "cramers_v": use.cramers_v,
        "speaker_information": use.information, "speaker_chance": use.by_chance or 0.0,
        "speaker_entropy": use.speaker_entropy,
    }  # fmt: skip
    return [*rows, _row("all together", streams, size) | together]


def _row(name: str, streams: Sequence[Stream], size: int) -> Row:
    codes, runs = code_scores(streams, size), unit_durations(streams)
    return {
        "name": name, "recordings": len(streams), "seconds": sum(stream.seconds for stream in streams),
        "frames": sum(map(len, streams)), "usage": codes.usage, "perplexity": codes.perplexity,
        "bitrate": codes.bitrate, "deduplicated_bitrate": codes.deduplicated_bitrate,
        "duration_bitrate": codes.duration_bitrate, "run_mean": runs.mean, "run_median": runs.median,
        "longer": 1 - runs.counts[1] / runs.segments,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for argument in ("codec", "manifest", "out"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--split", action="append", dest="splits", required=True)
    main(**vars(parser.parse_args()))
