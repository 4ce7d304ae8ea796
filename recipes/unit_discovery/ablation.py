"""What the codebook's size, the rate, the jitter and the voice of the decoder do to the units.

    python ablation.py data/flite/manifest.jsonl outputs/unit_discovery/ablation

48 small codecs, each trained from nothing as `speechvq train experiment=speech_ablation` does it, one of
them again by reconstruction alone, and the published architecture of van Niekerk et al. (2020) for as many
steps on the same speech; all scored on the same held-out recordings. A row that is done is kept in
OUT/rows and is not made again unless it would now be trained or scored otherwise. The page, the figures
and the plot are written after every row.
"""

import argparse
import itertools
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation_page import draw, page
from ablation_score import SCORING, Speech, figures, opened
from omegaconf import OmegaConf
from tqdm import tqdm

from speechvq import Codec
from speechvq.store.atomic import atomic
from speechvq.store.manifest import read_manifest
from speechvq.train import compose, train

log = logging.getLogger("ablation")
CODES, RATES, JITTER, VOICE = (64, 128, 256, 512), (25, 50, 100), (0.12, 0.0), (32, 0)
STEPS = "runtime.steps=400"


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: of its files.
        label: in the table.
        factors: what is varied; empty for a row beside the table.
        overrides: settings of its training, the experiment first.
    """

    name: str
    label: str
    factors: dict[str, str | int]
    overrides: tuple[str, ...]


def grid() -> list[Variant]:
    """Every combination of the four factors."""
    made = []
    for codes, rate, jitter, voice in itertools.product(CODES, RATES, JITTER, VOICE):
        factors = {
            "codes": codes, "rate": rate, "jitter": "on" if jitter else "off",
            "speaker": "with" if voice else "without",
        }  # fmt: skip
        name = f"k{codes}-{rate}hz-jitter-{factors['jitter']}-{factors['speaker']}-speaker"
        settings = (
            "experiment=speech_ablation", STEPS, f"quantizer.codebook_size={codes}",
            f"model.encoder.frame_rate={rate}", f"model.decoder.jitter={jitter}",
            f"model.decoder.voice_channels={voice}",
        )  # fmt: skip
        made.append(Variant(name, f"{codes} codes, {rate} Hz", factors, settings))
    return made


PLAIN = Variant(
    "plain", "512 codes, 50 Hz, reconstruction alone (no contrast, no warp)", {},
    (
        "experiment=speech_ablation", STEPS, "quantizer.codebook_size=512", "objective.contrast.weight=0",
        "model.encoder.warp=0",
    ),
)  # fmt: skip
CROP = 160
"""Samples of each of 16 recordings that a step of the published decoder predicts; 5120 of 52 as published."""
BSHALL = Variant(
    "zerospeech", f"van Niekerk et al., 16 x {CROP} samples a step", {},
    (
        "experiment=speech_zerospeech", STEPS, "data.seconds=0.5", "data.valid_seconds=0.5",
        "data.cache=false", f"model.decoder.window={CROP}", "runtime.batch_size=16", "runtime.threads=1",
        "runtime.ema=0.97", "runtime.accelerator=cpu", "runtime.precision=bf16-mixed",
        "runtime.valid_every=800", "runtime.valid_batches=1", "runtime.save_every=800",
        "optimiser.warmup=30",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """Which rows are to be made, and how.

    Attributes:
        only: part of a name; rows whose names lack it are not made.
        minutes: no row is begun after so long; None: all are made.
        more: further settings of every training.
        keep: leave the folders of the runs.
    """

    only: str = ""
    minutes: float | None = None
    more: tuple[str, ...] = ()
    keep: bool = False


def main(manifest: Path, out: Path, wish: Wish = Wish()) -> None:  # noqa: B008 (frozen)
    """Make the rows that are missing; write OUT/results.json, results.md and results.png after each."""
    begun, speech = time.monotonic(), opened(read_manifest(manifest))
    asked = [(v, settings(v, manifest, wish.more)) for v in [*grid(), PLAIN, BSHALL]]
    rows = {v.name: kept for v, config in asked if (kept := _kept(out, v, config)) is not None}
    missing = [pair for pair in asked if pair[0].name not in rows and wish.only in pair[0].name]
    log.info("%d rows are there, %d are to be made", len(rows), len(missing))
    for variant, config in tqdm(missing, desc="rows", disable=None):
        if wish.minutes is not None and time.monotonic() - begun > 60 * wish.minutes:
            log.info("the time is over; start it again to go on")
            break
        rows[variant.name] = made(variant, config, speech, out, keep=wish.keep)
        write(out, [rows[v.name] for v, _ in asked if v.name in rows])
    write(out, [rows[v.name] for v, _ in asked if v.name in rows])


def settings(variant: Variant, manifest: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    """The composed settings of a row's training, but for the folder."""
    composed = compose([*variant.overrides, f"data.manifest={manifest}", *more, "force=true"])
    plain = OmegaConf.to_container(composed)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items() if name != "folder"}


def made(
    variant: Variant, config: dict[str, Any], speech: Speech, out: Path, *, keep: bool
) -> dict[str, Any]:
    """Train, score, and keep a row."""
    folder, start = out / "runs" / variant.name, time.process_time()
    train({**config, "folder": str(folder)})
    trained = time.process_time()
    row = {
        "name": variant.name, "label": variant.label, **variant.factors,
        **figures(Codec.from_pretrained(folder / "codec"), speech),
        "steps": config["runtime"]["steps"], "train_seconds": trained - start,
        "score_seconds": time.process_time() - trained, "settings": config, "scoring": SCORING,
    }  # fmt: skip
    _write(out / "rows" / f"{variant.name}.json", row)
    if not keep:
        shutil.rmtree(folder)
    log.info(
        "%s: PNMI %.3f, ABX %.1f, WER %.2f; %.0f s of training, %.0f s of scoring",
        *(row[k] for k in ("name", "pnmi", "abx_quantized", "wer_median", "train_seconds", "score_seconds")),
    )
    return row


def write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The figures as JSON, the page and the plot."""
    if not rows:
        return
    _write(out / "results.json", rows)
    with atomic(out / "results.md") as temporary:
        temporary.write_text(page(rows), encoding="utf-8")
    draw([row for row in rows if "codes" in row], out / "results.png")


def _kept(out: Path, variant: Variant, config: dict[str, Any]) -> dict[str, Any] | None:
    """The row as it was made, if it would be made the same way now."""
    path = out / "rows" / f"{variant.name}.json"
    row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if row and (row["settings"], row["scoring"]) != (json.loads(json.dumps(config)), SCORING):
        log.info("%s was trained or scored otherwise and is made again", variant.name)
        return None
    return row


def _write(path: Path, content: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="part of a name, such as k64- or zerospeech")
    parser.add_argument("--limit-minutes", type=float, help="begin no row after so long")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of every training, such as seed=1"
    )
    parser.add_argument("--keep", action="store_true", help="leave the folders of the runs")
    told = parser.parse_args()
    main(told.manifest, told.out, Wish(told.only, told.limit_minutes, tuple(told.set), told.keep))
