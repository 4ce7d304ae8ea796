"""How much faster than real time a codec encodes and converts, on one CPU core.

    python benchmarks/conversion.py [CODEC] [--seconds 60] [--rounds 5] [--json FILE]

Prints audio seconds per second of process CPU time with one thread (equal to wall time on an idle core):
the median over rounds of one recording, the bundled ones in a row.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from speechvq import Codec
from speechvq.speech.audio import read_audio
from speechvq.store.weights import shipped


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codec", nargs="?", default=str(shipped()))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    codec = Codec.from_pretrained(asked.codec)
    wave = _recording(Path(shipped()) / "examples", asked.seconds)
    voice = codec.decoder.speakers[0]
    codes = codec.encode(wave)
    seconds = wave.shape[2] / codec.rate
    work: dict[str, Callable[[], object]] = {
        "encode": lambda: codec.encode(wave),
        "decode": lambda: codec.decode(codes, speaker=voice),
        "convert": lambda: codec.decode(codec.encode(wave), speaker=voice),
    }
    found = {name: seconds / _median(what, asked.rounds) for name, what in work.items()}
    found |= {"seconds": seconds, "codec": codec.fingerprint, "machine": _machine()}
    for name in work:
        print(f"{name:8} {found[name]:7.1f} x real time")
    print(f"{seconds:.0f} s of speech, one thread, {found['machine']}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def _recording(folder: Path, seconds: float) -> torch.Tensor:
    waves = [read_audio(path) for path in sorted(folder.glob("*.flac"))]
    row = torch.cat(waves, 1)
    wanted = round(seconds * 16_000)
    return row.repeat(1, -(-wanted // row.shape[1]))[None, :, :wanted]


def _median(work: Callable[[], object], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = [line for line in cpu.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return f"{model}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
