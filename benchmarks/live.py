"""How soon a live voice sounds, how long computing takes, and what the bounded lag costs.

    python benchmarks/live.py [CODEC] [--lags 80,160,320,720] [--seconds 2.5] [--recordings 2] [--json FILE]

For each lag, bundled recordings go through `speechvq.serve.live` block by block. Printed: the lag without
computing; computing per block (CPU time with one thread, which is wall time on an idle core: the median and
the 95th of 100 blocks); when the first sound is there, counted from the first sample (what must be heard for
it, and its computing; loading the codec comes before); the share of real time that computing takes; how far
the sound is from that of converting the whole file (mean absolute difference of the log-mel spectrograms, in
dB), over all and without the first second, in which the speaker is yet unknown.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from conversion import _machine
from torch import Tensor

from speechvq import Codec
from speechvq.serve.live import LAG, Timing, convert_live
from speechvq.speech.audio import read_audio
from speechvq.speech.features import LogMel
from speechvq.store.weights import shipped


@dataclass(frozen=True)
class Figures:
    """Of one lag; milliseconds and decibels."""

    asked_ms: float
    lag_ms: float
    block_ms: float
    compute_median_ms: float
    compute_95_ms: float
    first_sound_ms: float
    share_of_real_time: float
    distance_db: float
    distance_later_db: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codec", nargs="?", default=str(shipped()))
    parser.add_argument("--lags", default="80,160,320,720")
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--recordings", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    codec = Codec.from_pretrained(asked.codec)
    waves = recordings(Path(shipped()) / "examples", asked.recordings, round(asked.seconds * codec.rate))
    rows = [measured(codec, waves, float(lag)) for lag in asked.lags.split(",")]
    print(f"{'lag':>6} {'compute':>15} {'first sound':>12} {'of real time':>13} {'distance':>9} {'later':>6}")
    for row in rows:
        print(
            f"{row.lag_ms:4.0f}ms {row.compute_median_ms:5.1f} ..{row.compute_95_ms:5.1f}ms "
            f"{row.first_sound_ms:10.0f}ms {row.share_of_real_time:12.0%} "
            f"{row.distance_db:7.2f}dB {row.distance_later_db:4.2f}dB"
        )
    found = {"codec": codec.fingerprint, "machine": _machine(), "load": list(os.getloadavg())}
    print(f"one thread, {found['machine']}, load {found['load'][0]:.1f}; the default is {LAG:g} ms")
    if asked.json:
        found |= {"default_ms": LAG, "seconds": asked.seconds, "lags": [asdict(row) for row in rows]}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def recordings(folder: Path, count: int, samples: int) -> list[Tensor]:
    """The beginnings (n,) of some bundled recordings, of different speakers."""
    paths = sorted(folder.glob("*.flac"))
    return [read_audio(path)[0, :samples] for path in paths[2 :: max(1, len(paths) // count)][:count]]


def measured(codec: Codec, waves: list[Tensor], lag: float) -> Figures:
    """One lag over all recordings."""
    timing, voice = Timing.of(codec, lag), codec.decoder.speakers[-1]
    mel, block_ms = LogMel(), 1000 * timing.block / codec.rate
    computing, firsts, distances, later = [], [], [], []
    for wave in waves:
        made, times, first = live(codec, wave, lag, timing, voice)
        computing += times
        firsts.append(first)
        whole = codec.decode(codec.encode(wave[None, None]), speaker=voice, seed=0)
        apart = (mel(made[None]) - mel(whole)).abs().mean((0, 1)) * 20 / torch.tensor(10.0).log()
        distances.append(float(apart.mean()))
        later.append(float(apart[100:].mean()))
    ordered = sorted(computing)
    return Figures(
        lag, timing.lag, block_ms, statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))],
        statistics.mean(firsts), statistics.mean(ordered) / block_ms,
        statistics.mean(distances), statistics.mean(later),
    )  # fmt: skip


def live(
    codec: Codec, wave: Tensor, lag: float, timing: Timing, voice: str
) -> tuple[Tensor, list[float], float]:
    """The sound (1, n), milliseconds of computing of each block, and when the first sound was there."""
    marks, heard = [], 0

    def blocks():
        nonlocal heard
        for block in wave.split(timing.block):
            marks.append(time.thread_time())  # asked for: all before was computed
            heard += len(block)
            yield block

    pieces, first = [], 0.0
    for piece in convert_live(codec, blocks(), lag=lag, speaker=voice, seed=0):
        if not pieces:
            # What had to be heard, and the computing since the last of it came.
            first = 1000 * heard / codec.rate + 1000 * (time.thread_time() - marks[-1])
        pieces.append(piece)
    marks.append(time.thread_time())
    times = [1000 * (b - a) for a, b in zip(marks, marks[1:], strict=False)]
    return torch.cat(pieces, 1), [t for t in times if t > 0.5], first


if __name__ == "__main__":
    main()
