"""How many samples a second a WaveNet speaks on this machine's CPU, beside PyTorch and what memory allows.

    python benchmarks/wavenet.py [--rounds 5] [--seconds 0.3] [--quick] [--without-compile] [--json FILE]

Two networks with random weights: ``reference`` (20 layers, 64 residual, 128 gate, 256 skip, 256 levels) and
``wn30`` (the decoder's preset: 30 layers, otherwise the same). Everybody gets the same weights, conditions
and noise; the first 64 samples must be those of `speechvq.kernels.wavenet_plain` in float64, or the row
says how many are. Contestants take turns; the best round counts, all are in the file.

With one thread, time is the thread's CPU time, which is wall time on an idle core. With two it is wall
time, which means something on an idle machine only.

Bounds, measured in the same run: the weights that a sample needs over the speed at which this core reads
as many bytes again and again, times the utterances that share them; and multiplications over those of a
large float32 product. Layers whose past is known ahead let several samples share their weights, and one
utterance in float32 is guessed ahead and checked many samples at a time, so a share can exceed 100 %; so
can that of multiplications where matrix tiles do them in 16 bits.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from wavenet_eager import Restructured, Usual

from speechvq.kernels import wavenet_plain
from speechvq.kernels.wavenet_cpu import STORAGES, NativeWaveNet
from speechvq.kernels.wavenet_plain import Network, start

LAYERS = {"reference": 20, "wn30": 30}
BATCHES = (1, 8, 16, 64)
BYTES = {"float32": 4, "float24": 3, "bfloat16": 2, "int8": 1}
HOP, CHECKED = 64, 64
GPU = ("eager", "CUDA graph", "our kernel")
NO_GPU = "not measured: this is about a CPU; benchmarks/wavenet_gpu.py measures a GPU"


@dataclass
class Contestant:
    """Somebody who speaks: ``speak(before, conditions, uniforms)`` gives (N, T) levels."""

    name: str
    batch: int
    speak: Callable[[Tensor, Tensor, Tensor], Tensor]
    storage: str = "float32"
    threads: int = 1


def network(layers: int) -> Network:
    """Random weights of the size that training starts from."""
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * shape[-2] ** -0.5

    R = G = 64
    S = P = Q = 256
    return Network(
        matrix(Q, R), matrix(layers, 2 * R, 2 * G), matrix(layers, G, R), torch.zeros(layers, R),
        matrix(layers * G, S) * 2, torch.zeros(S), matrix(S, P) * 2, torch.zeros(P), matrix(P, Q) * 2,
        torch.zeros(Q), tuple(2 ** (i % 10) for i in range(layers)), Q,
    )  # fmt: skip


def native(net: Network, storage: str, threads: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Our kernel."""
    kernel = NativeWaveNet(net, storage=storage, threads=threads)
    return lambda before, conditions, uniforms: kernel.decode(start(net, before), conditions, uniforms).steps


def contestants(net: Network, *, quick: bool, compiled: bool) -> list[Contestant]:
    """Everybody."""
    batches = (1, 8) if quick else BATCHES
    found = [
        Contestant("PyTorch, as usual", 1, Usual(net).speak),
        Contestant("PyTorch, restructured", 1, Restructured(net).speak),
    ]
    if not quick:
        found.append(Contestant("PyTorch, restructured", 16, Restructured(net).speak))
    if compiled:
        fast = Restructured(net, compiled=True)
        found.append(Contestant("PyTorch, restructured, torch.compile", 1, fast.speak))
    for storage in STORAGES:
        one = native(net, storage, 1)
        found += [Contestant("our kernel", batch, one, storage) for batch in batches]
        two = native(net, storage, 2)
        found += [Contestant("our kernel", batch, two, storage, 2) for batch in batches if batch > 1]
    return found


def noise(net: Network, batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Samples before the first, conditions, uniform numbers; the first rows are those of a smaller batch."""
    L, G, _ = net.residual.shape
    rows = [torch.Generator().manual_seed(row) for row in range(batch)]
    conditions = torch.stack([torch.randn(1024, L * 2 * G, generator=g)[:frames].T for g in rows])
    uniforms = torch.stack([torch.rand(1024 * HOP, 1, generator=g)[: frames * HOP] for g in rows])
    return torch.full((batch,), 128), conditions.unflatten(1, (L, 2 * G)), uniforms


def clocked(who: Contestant, given: tuple[Tensor, Tensor, Tensor]) -> float:
    """Samples a second."""
    clock = time.thread_time if who.threads == 1 else time.perf_counter
    begin = clock()
    who.speak(*given)
    return given[2].shape[0] * given[2].shape[1] / (clock() - begin)


def race(net: Network, everybody: list[Contestant], rounds: int, seconds: float) -> list[dict[str, object]]:
    """A row of results for each."""
    exact, given = net.to(torch.float64), noise(net, 1, CHECKED // HOP)
    past = start(exact, given[0])
    wanted = wavenet_plain.decode(exact, past, given[1].double(), given[2].double()).steps[0]
    frames, equal, speeds = {}, {}, {}
    for i, who in enumerate(everybody):
        said = who.speak(*noise(net, who.batch, CHECKED // HOP))[0]
        equal[i] = int((said == wanted).long().cumprod(0).sum())
        speed = clocked(who, noise(net, who.batch, 1))
        frames[i] = min(1000, max(1, round(speed * seconds / HOP / who.batch)))
        speeds[i] = []
    for turn in range(rounds):
        order = range(len(everybody)) if turn % 2 == 0 else reversed(range(len(everybody)))
        for i in order:
            who = everybody[i]
            speeds[i].append(clocked(who, noise(net, who.batch, frames[i])))
    return [
        {
            "who": who.name, "batch": who.batch, "threads": who.threads, "weights": who.storage,
            "samples_per_second": max(speeds[i]), "all": speeds[i],
            "clock": "thread CPU" if who.threads == 1 else "wall", "first_equal_samples": equal[i],
        }
        for i, who in enumerate(everybody)
    ]  # fmt: skip


def reading_speed(count: int, rounds: int = 30) -> float:
    """Bytes a second at which one thread reads so many bytes again and again."""
    x, best = torch.randn(count // 4), 0.0
    for _ in range(rounds):
        begin = time.thread_time()
        for _ in range(20):
            torch.dot(x, x)
        best = max(best, 20 * count / (time.thread_time() - begin))
    return best


def multiplying_speed(rounds: int = 8) -> float:
    """Float32 operations a second of a large product on one thread."""
    x, best = torch.randn(1024, 1024), 0.0
    for _ in range(rounds):
        begin = time.thread_time()
        x @ x
        best = max(best, 2 * 1024**3 / (time.thread_time() - begin))
    return best


def measure(name: str, asked: argparse.Namespace, roof: float) -> dict[str, object]:
    """One network."""
    net = network(LAYERS[name])
    weights = sum(
        t.numel() for n, t in net.tensors.items() if t.dim() > 1 and n not in ("enter", "residual_bias")
    )
    weights -= net.residual[0].numel()  # the last layer's lead nowhere
    speeds = {s: reading_speed(weights * b) for s, b in BYTES.items()}
    # The larger network's torch.compile takes minutes and says nothing new.
    compiled = name == "reference" and not asked.quick and not asked.without_compile
    everybody = contestants(net, quick=asked.quick, compiled=compiled)
    rows = race(net, everybody, asked.rounds, asked.seconds)
    usual = rows[0]["samples_per_second"]
    print(f"\n{name}: {weights} weights and {2 * weights} operations a sample")
    for row in rows:
        storage, batch, threads = str(row["weights"]), row["batch"], row["threads"]
        row["bytes_per_sample"] = weights * BYTES[storage] * threads / batch
        row["memory_bound"] = batch * speeds[storage] / (weights * BYTES[storage])
        row["share_of_memory_bound"] = row["samples_per_second"] / row["memory_bound"]
        row["share_of_float32_roof"] = row["samples_per_second"] * 2 * weights / (roof * threads)
        row["times_usual"] = row["samples_per_second"] / usual
        print(
            f"{row['who']:36} {storage:8} batch {row['batch']:2} threads {row['threads']} "
            f"{row['samples_per_second']:9,.0f} samples/s {row['times_usual']:6.1f} x "
            f"{row['share_of_memory_bound']:5.0%} of memory {row['share_of_float32_roof']:5.0%} of float32 "
            f"{row['first_equal_samples']:3} equal"
        )
    gpu = [{"who": who, "samples_per_second": None, "why": NO_GPU} for who in GPU]
    return {
        "network": name,
        "weights": weights,
        "operations": 2 * weights,
        "reading": speeds,
        "rows": rows,
        "gpu": gpu,
    }


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs, torch {torch.__version__}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one contestant's turn")
    parser.add_argument("--quick", action="store_true", help="few contestants, one network")
    parser.add_argument("--without-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    roof, found = multiplying_speed(), []
    kernel = NativeWaveNet(network(20)).instructions
    for name in ["reference"] if asked.quick else LAYERS:
        found.append(measure(name, asked, roof))
        record = {"machine": machine(), "kernel": kernel, "load": os.getloadavg(), "float32_roof": roof}
        if asked.json:
            asked.json.write_text(json.dumps(record | {"networks": found}, indent=1) + "\n")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\n{machine()}, {kernel}, load {load}, {roof / 1e9:.0f} GFLOP/s in a float32 product")


if __name__ == "__main__":
    main()
