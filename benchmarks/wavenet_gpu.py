"""WaveNet decoding on a GPU: is it right, and how fast is it.

    python benchmarks/wavenet_gpu.py [--config reference,wn30] [--batches 1,16,132,1024] [--seconds 2]
                                     [--out FILE] [--dry-run]

First correctness: our kernel, in both storages and in several tiles, and the CUDA graph are held to the
plain decoder in double precision, teacher-forced, with the weights rounded as they are stored. A backend
that is wrong is named and not timed, and the exit code is 1. Then timing, in samples/s over all streams:

    eager   one step after the other, operation by operation
    graph   the same step held in a CUDA graph
    kernel  the persistent Triton kernel, bfloat16 and float32, the default tile and others beside it

The file (JSON, by default results/wavenet-<device>.json) has the device's name, bytes and FLOPs per sample,
the share of the bounds they set, and published figures of others. ``--dry-run`` goes through all of it with
tiny shapes on the CPU, the kernel in Triton's interpreter; its figures mean nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if "--dry-run" in sys.argv:  # decided when Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from wavenet_gpu_clock import clock, machine

from speechvq.kernels import wavenet_plain
from speechvq.kernels.wavenet_graph import GraphWaveNet
from speechvq.kernels.wavenet_plain import Network, start
from speechvq.kernels.wavenet_triton import STORAGES, Tile, TritonWaveNet, channels, takes, tile

CONFIGS = {
    "reference": {"layers": 20, "cycle": 10, "widths": (64, 64, 256, 256, 256)},
    "wn30": {"layers": 30, "cycle": 10, "widths": (64, 64, 256, 256, 256)},
    "32-64-256": {"layers": 20, "cycle": 10, "widths": (32, 64, 256, 256, 256)},
    "64-128-256": {"layers": 20, "cycle": 10, "widths": (64, 128, 256, 256, 256)},
    "128-128-256": {"layers": 20, "cycle": 10, "widths": (128, 128, 256, 256, 256)},
    "tiny": {"layers": 2, "cycle": 2, "widths": (16, 16, 32, 16, 32)},
}
"""Layers, layers until the dilations start again, and residual, gate, skip, post channels and levels."""
PUBLISHED = {
    "nv-wavenet": "its own table could not be read; a user's report (its issue 46): 9 s of 16 kHz sound in "
    "3 to 5 s on a P40, persistent, 16 layers, which is 29,000 to 48,000 samples/s of one stream",
    "wavenet vocoders in eager PyTorch": "90 to 700 samples/s",
}
BARS = {("graph", 1): 8e3, ("kernel bfloat16", 1): 30e3, ("kernel bfloat16", 1024): 10e6}
NEAR = 1e-3
"""Greatest difference of logits, of their size."""


@dataclass(frozen=True)
class Way:
    """One way to decode.

    Attributes:
        name: in the table.
        storage: how the weights are rounded.
        make: the decoder of a network.
    """

    name: str
    storage: str
    make: Callable[[Network], Any]


def main() -> int:
    """Check, measure, write; 2 where there is no GPU, 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="reference,wn30")
    parser.add_argument("--batches", default="1,16,132,1024")
    parser.add_argument("--seconds", type=float, default=2.0, help="about so long for each figure")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    if not asked.dry_run and not torch.cuda.is_available():
        print(
            "there is no CUDA GPU here; run it on a machine that has one, or try it with --dry-run",
            file=sys.stderr,
        )
        return 2
    device = torch.device("cpu" if asked.dry_run else "cuda")
    configs = ["tiny"] if asked.dry_run else asked.config.split(",")
    if unknown := set(configs) - set(CONFIGS):
        print(f"there is no config {', '.join(unknown)}; known: {', '.join(CONFIGS)}", file=sys.stderr)
        return 2
    batches = [2] if asked.dry_run else [int(n) for n in asked.batches.split(",")]
    found: dict[str, Any] = {"machine": machine(device), "published": PUBLISHED, "dry": asked.dry_run}
    wrong = 0
    for config in configs:
        net = network(config)
        checks = {way.name: checked(net, way) for way in ways(net, device, batches[-1])}
        wrong += sum(not check["right"] for check in checks.values())
        right = [way for way in ways(net, device, batches[-1]) if checks[way.name]["right"]]
        rows = [row for n in batches for way in right for row in timed(net, way, n, device, asked.seconds)]
        found[config] = {"checks": checks, "rows": rows, "costs": costs(net)}
    name = found["machine"]["device"].replace(" ", "-")
    out = asked.out or Path(__file__).parent / "results" / f"wavenet-{name}.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {out}; {wrong or 'nothing'} wrong")
    return 1 if wrong else 0


def network(config: str) -> Network:
    """Random weights, scaled so that activations neither vanish nor grow."""
    made = CONFIGS[config]
    (R, G, S, P, A), layers = made["widths"], made["layers"]
    shapes = {
        "enter": (A, R), "dilated": (layers, 2 * R, 2 * G), "residual": (layers, G, R),
        "residual_bias": (layers, R), "skip": (layers * G, S), "skip_bias": (S,), "post": (S, P),
        "post_bias": (P,), "last": (P, A), "last_bias": (A,),
    }  # fmt: skip
    noise = torch.Generator().manual_seed(0)
    tensors: dict[str, Any] = {}
    for name, shape in shapes.items():
        plain = name == "enter" or name.endswith("bias")
        tensors[name] = torch.randn(shape, generator=noise) * (0.3 if plain else shape[-2] ** -0.5)
    tensors["residual"] *= 0.3
    return Network(**tensors, dilations=tuple(2 ** (i % made["cycle"]) for i in range(layers)), levels=A)


def ways(net: Network, device: torch.device, most: int) -> Iterator[Way]:
    """What is compared; the kernel in its own tile and in others."""
    gpu = device.type == "cuda"
    yield Way("eager", "float32", lambda n: GraphWaveNet(n, device=device, capture=False))
    if gpu:
        yield Way("graph", "float32", lambda n: GraphWaveNet(n, device=device))
    if takes(net):
        return
    gate = channels(net)[1]
    for storage in STORAGES:
        yield Way(
            f"kernel {storage}", storage, lambda n, s=storage: TritonWaveNet(n, storage=s, device=device)
        )
        own = tile(net, most, storage=storage, processors=132)
        others = [
            replace(own, utterances=16), replace(own, warps=4), replace(own, stages=1),
            replace(own, chunk=max(16, gate // 2)), Tile(16, own.chunk, 4, own.stages),
        ]  # fmt: skip
        for other in others if gpu else ():
            name = f"kernel {storage} {other.utterances}u {other.chunk}c {other.warps}w {other.stages}s"
            yield Way(
                name,
                storage,
                lambda n, s=storage, t=other: TritonWaveNet(n, storage=s, device=device, tile=t),
            )


def checked(net: Network, way: Way, *, streams: int = 9, columns: int = 3, hop: int = 16) -> dict[str, Any]:
    """Whether it says what the plain decoder says in double precision, after the same past."""
    if net.levels < 256:
        streams, columns, hop = 2, 2, 3
    rounded = stored(net, way.storage)
    given = (
        torch.randn(streams, len(net.dilations), net.dilated.shape[2], columns),
        torch.rand(streams, columns * hop, 1),
    )
    before = torch.full((streams,), net.levels // 2)
    try:
        said = way.make(net).decode(start(rounded, before), *given, logits=True)
    except Exception as error:  # a shape that does not compile or fit must not hide the others
        return {"right": False, "error": f"{type(error).__name__}: {str(error)[:200]}"}
    forced, double = said.steps.cpu(), rounded.to(torch.float64)
    conditions, uniforms = given[0].double(), given[1].double()
    want = wavenet_plain.decode(double, start(double, before), conditions, uniforms, forced_NT=forced)
    error = float((said.logits.cpu() - want.logits).abs().max() / want.logits.abs().max())
    differ = float((forced != want.steps).float().mean())
    right = error < NEAR and differ < 0.02
    verdict = "right" if right else "WRONG"
    print(f"{way.name}: {verdict}, logits off by {error:.1e}, {differ:.2%} of levels differ")
    return {"right": right, "logits": error, "levels": differ}


def stored(net: Network, storage: str) -> Network:
    """The network with its matrices rounded as they are stored."""
    matrices = ("dilated", "residual", "skip", "post", "last")
    return replace(net, **{k: getattr(net, k).to(STORAGES[storage]).to(torch.float32) for k in matrices})


def timed(
    net: Network, way: Way, batch: int, device: torch.device, seconds: float
) -> Iterator[dict[str, Any]]:
    """Samples/s of one way at one batch; nothing where there is not enough memory."""
    decoder = way.make(net)
    try:
        rate = clock(decoder, net, batch, device, seconds)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        print(f"{way.name} at {batch}: left out ({str(error).splitlines()[0][:100]})")
        return
    bar = BARS.get((way.name, batch))
    print(f"{way.name} at {batch}: {rate:,.0f} samples/s" + (f" (bar {bar:,.0f})" if bar else ""), flush=True)
    yield {"way": way.name, "batch": batch, "samples_per_second": rate, "bar": bar}


def costs(net: Network) -> dict[str, Any]:
    """What one sample costs, and the rates of one stream that it allows one H100 multiprocessor."""
    weights = sum(getattr(net, k).numel() for k in ("dilated", "residual", "skip", "post", "last"))
    ring = 2 * 4 * len(net.dilations) * net.enter.shape[1]
    return {
        "weights": weights, "flops": 2 * weights, "ring_bytes": ring,
        "weight_bytes": {name: weights * dtype.itemsize for name, dtype in STORAGES.items()},
        "l2_bound_one_stream": {n: 64 * 1.755e9 / (weights * d.itemsize) for n, d in STORAGES.items()},
        "l2_bound_means": "64 bytes a cycle from L2 into one multiprocessor at 1.755 GHz",
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
