"""What comes next among units: two priors over a codec's codes, what they cost and how they sound.

    python prior.py checkpoints/speech-units data/flite/manifest.jsonl outputs/unit_discovery/prior results.md

Trains a WaveNet and a transformer on the codes of the train split, scores both on the test split beside
counting, lets both babble in every voice and go on with two held-out recordings (WAV files in OUT), and
writes a section of Markdown. A training that was stopped goes on, one that is done is not done again.
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from speechvq import Codec
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.score.prior import code_streams, score_prior
from speechvq.score.streams import Stream
from speechvq.serve.babble import Wish, babble
from speechvq.speech.coded import hear
from speechvq.speech.data import SpeechDataSettings
from speechvq.store.atomic import atomic
from speechvq.store.manifest import Entry, read_manifest
from speechvq.train import train
from speechvq.train.settings import compose

log = logging.getLogger("unit_discovery.prior")
EXPERIMENTS = {"WaveNet": "speech_prior", "transformer": "speech_prior_transformer"}
STEPS = {"WaveNet": 600, "transformer": 600}
SIZES = {"WaveNet": "small", "transformer": "tiny"}
SAMPLING = Sampling(temperature=0.9, top_p=0.95, seed=1)
SECONDS = 4.0


def main(codec: Path, manifest: Path, out: Path, results: Path, *, steps: int | None = None) -> None:
    """Make what is missing, then the section ``results``; ``steps`` of each training, None for enough."""
    model = Codec.from_pretrained(codec)
    held = [entry for entry in read_manifest(manifest) if entry.split == "test"]
    streams: dict[str, list[Stream]] = {}
    rows = []
    for name in EXPERIMENTS:
        many = steps or STEPS[name]
        folder = out / f"{EXPERIMENTS[name]}-{model.fingerprint[:8]}-{many}"
        prior = trained(name, folder, codec, manifest, many)
        kept = folder / "scores.json"
        if not kept.exists():
            streams = streams or {
                "train": learned_from(manifest, model, prior.speakers),
                "test": code_streams(held, model, prior),
            }
            _write(kept, json.dumps(row(name, many, prior, streams), indent=1))
        rows.append(json.loads(kept.read_text(encoding="utf-8")))
        heard(prior, model, held, out, name)
    _write(results, section(rows))


def trained(name: str, folder: Path, codec: Path, manifest: Path, steps: int) -> Prior:
    """The prior called ``name`` after ``steps`` steps, trained now as far as it is not yet."""
    done = folder / "trained"
    if not done.exists():
        log.info("training the %s prior, %d steps", name, steps)
        told = [
            f"experiment={EXPERIMENTS[name]}", "runtime=trial", f"runtime.steps={steps}",
            f"runtime.threads={torch.get_num_threads()}", f"folder={folder}", f"model.codec={codec}",
            f"data.manifest={manifest}", f"resume={(folder / 'checkpoints').is_dir()}",
            f"model.prior.size={SIZES[name]}", "optimiser.lr=2e-3", "optimiser.warmup=100",
        ]  # fmt: skip
        train(compose(told))
        log_of = folder / "log.jsonl"
        lines = log_of.read_text(encoding="utf-8").splitlines() if log_of.exists() else []
        last = json.loads(lines[-1])["step"] if lines else 0
        if last < steps:
            raise SystemExit(f"the {name} prior stopped at step {last} of {steps}; start again to go on")
        _write(done, f"{steps} steps\n")
    return Prior.from_pretrained(folder / "prior")


def learned_from(manifest: Path, codec: Codec, voices: Sequence[str]) -> list[Stream]:
    """The codes of the train split, as they were heard for the training."""
    found = hear(SpeechDataSettings(str(manifest)), codec, ("train", "valid"), voices=voices)["train"]
    rate, told = codec.frame_rate, zip(found.codes, found.speakers, strict=True)
    return [
        Stream(f"{i}", voices[who], codes, frame_rate=rate, seconds=len(codes) / rate)
        for i, (codes, who) in enumerate(told)
    ]


def row(name: str, steps: int, prior: Prior, streams: Mapping[str, Sequence[Stream]]) -> dict[str, Any]:
    """What held-out codes cost, and how fast 500 codes are written."""
    scores = score_prior(prior, streams["train"], streams["test"])
    condition = {"speaker": torch.tensor([0])} if prior.speakers else None
    prior.generate((8,), condition)
    begin = time.process_time()
    prior.generate((500,), condition, SAMPLING)
    speed = 500 / (time.process_time() - begin)
    parameters = sum(p.numel() for p in prior.parameters())
    return scores.plain() | {"name": name, "steps": steps, "parameters": parameters, "speed": speed}


def heard(prior: Prior, codec: Codec, held: Sequence[Entry], out: Path, name: str) -> None:
    """Babble in each voice of the prior, and two held-out recordings gone on with, as OUT/NAME-*.wav."""
    wanted: list[tuple[str, str, str | None]] = [(f"babble-{who}", who, None) for who in prior.speakers]
    first = {entry.speaker: entry for entry in reversed(held)}
    for entry in [first[who] for who in prior.speakers if who in first][:2]:
        wanted.append((f"after-{entry.utterance}-{entry.speaker}", entry.speaker, entry.path))
    for what, speaker, recording in wanted:
        target = out / f"{name.lower()}-{what}.wav"
        babble(prior, codec, [target], Wish(speaker, SECONDS, SAMPLING), recording=recording, force=True)


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The section of Markdown."""
    first = rows[0]
    lines = [
        "## Priors: what comes next",
        "",
        f"Bits that {first['codes']:,} codes of {first['recordings']} held-out recordings cost, "
        f"{first['codes_per_second']:g} codes a second, after {first['trained_codes']:,} codes of the train "
        "split. The n-grams are smoothed by a Dirichlet prior whose weights a tenth of the train split "
        "chose; the priors are told who speaks.",
        "",
        "| | bits per code | bit/s | perplexity | codes/s |",
        "|---|---|---|---|---|",
    ]
    for order in ("uniform", "unigram", "bigram", "trigram"):
        lines.append(_line(order, first["bits"][order], first["codes_per_second"], ""))
    for one in rows:
        words = f"{one['name']} prior, {one['parameters'] / 1e6:.1f} M parameters, {one['steps']:,} steps"
        lines.append(_line(words, one["bits"]["prior"], one["codes_per_second"], f"{one['speed']:,.0f}"))
    lines += ["", "| bits per code by voice | " + " | ".join(first["speakers"]) + " |"]
    lines.append("|---" * (1 + len(first["speakers"])) + "|")
    for one in rows:
        cells = " | ".join(f"{bits:.3f}" for bits in one["speakers"].values())
        lines.append(f"| {one['name']} | {cells} |")
    lines += [
        "",
        "codes/s: seconds of CPU for 500 codes, one after the other, with the cache. Beside this page lie "
        f"`*-babble-VOICE.wav`, {SECONDS:g} s that nobody said, and `*-after-UTTERANCE-VOICE.wav`, a "
        f"held-out recording gone on with for {SECONDS:g} s; at temperature {SAMPLING.temperature:g}, top-p "
        f"{SAMPLING.top_p:g}, seed {SAMPLING.seed}, no rule about repetition, no guidance.",
        "",
    ]
    return "\n".join(lines)


def _line(name: str, bits: float, rate: float, speed: str) -> str:
    return f"| {name} | {bits:.3f} | {bits * rate:.1f} | {2**bits:.1f} | {speed} |"


def _write(path: Path, text: str) -> None:
    with atomic(path, force=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for argument in ("codec", "manifest", "out", "results"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--steps", type=int, help="of each training; some 100 for a quick look")
    main(**vars(parser.parse_args()))
