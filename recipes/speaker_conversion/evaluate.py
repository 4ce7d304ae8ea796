"""Score a codec on held-out recordings of every voice, and write the table of results.

    python evaluate.py CODEC data/speech.jsonl outputs/speaker_conversion results.md

Ten sentences of each synthetic voice and three recordings of each real one go into every other voice.
"""

import random
import sys
from dataclasses import replace
from pathlib import Path

from speechvq import Codec
from speechvq.score.conversion import score_conversion
from speechvq.score.results import ConversionScores
from speechvq.score.summary import Summary, summarise
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry, read_manifest

SYNTHETIC = ("awb", "kal16", "rms", "slt")
COMMAND = "recipes/speaker_conversion/run.sh"
HEAD = (
    "from", "to", "pairs", "WER", "source's WER", "like target", "like source", "closer to target",
    "DNSMOS", "source's", "log-F0 r", "MCD dB", "duration s",
)  # fmt: skip


def main(codec: Path, manifest: Path, out: Path, results: Path, jobs: int = 2) -> None:
    """Convert, score, write."""
    entries = _chosen(read_manifest(manifest))
    voices = {entry.speaker for entry in entries}
    groups = {voice: "synthetic" if voice in SYNTHETIC else "real" for voice in voices}
    model = Codec.from_pretrained(codec)
    scores = score_conversion(entries, model, None, out, limit=None, force=True, jobs=jobs, groups=groups)
    with atomic(results) as temporary:
        temporary.write_text(_page(scores), encoding="utf-8")


def _chosen(entries: list[Entry], *, seed: int = 0) -> list[Entry]:
    """Test entries that are not chosen serve as references of their voices instead."""
    order = random.Random(seed)
    kept: set[int] = set()
    for voice in sorted({entry.speaker for entry in entries}):
        held_out = [i for i, e in enumerate(entries) if e.speaker == voice and e.split == "test"]
        long_enough = [i for i in held_out if entries[i].duration >= 1.5]
        kept.update(order.sample(long_enough, min(len(long_enough), 10 if voice in SYNTHETIC else 3)))
    return [
        replace(e, split="valid") if e.split == "test" and i not in kept else e for i, e in enumerate(entries)
    ]


def _page(scores: ConversionScores) -> str:
    about, codes = scores.about, scores.codes
    lines = [
        "# Speaker conversion: what came out",
        "",
        f"Made by `{COMMAND}`, in the end `{about.command}` ({about.machine}).",
        f"Codec {about.codec}, {about.num_codebooks} x "
        f"{about.codebook_size} codes at {about.frame_rate:g} a second. Medians; judges: {about.judges}.",
        "WER of English sources only. MCD where the target voice has the same sentence.",
        "",
        f"Codes: {codes.bitrate:.0f} bit/s (entropy), perplexity {codes.perplexity:.0f}, "
        f"{codes.usage:.0%} of them used by these recordings.",
        "",
        "## Synthetic (flite, four voices) and real (Asterisk, five voices), held-out sentences",
        "",
        *_table(scores.summary),
        "",
        "## Each voice as source and as target",
        "",
        *_table(_by_voice(scores)),
        "",
    ]
    return "\n".join(lines)


def _by_voice(scores: ConversionScores) -> list[Summary]:
    voices = sorted({row.pair.source_speaker for row in scores.rows})
    found = []
    for voice in voices:
        said = summarise([row for row in scores.rows if row.pair.source_speaker == voice])[0]
        heard = summarise([row for row in scores.rows if row.pair.target_speaker == voice])[0]
        found += [replace(said, source=voice), replace(heard, target=voice)]
    return found


def _table(summaries: list[Summary]) -> list[str]:
    rows = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for s in summaries:
        cells = [
            s.source, s.target, str(s.pairs), _two(s.wer), _two(s.source_wer), _two(s.target_similarity),
            _two(s.source_similarity), f"{s.closer:.0%}", _two(s.mos), _two(s.source_mos),
            _two(s.f0_correlation), _two(s.mcd), _two(s.duration_difference),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:5]))
