"""How much faster a prior writes codes when it remembers what it has read, on one CPU core.

    python benchmarks/priors.py [--codes 500] [--rounds 3] [--priors wavenet] [--sizes small] [--json FILE]
    python benchmarks/priors.py --priors gpt,gpt-map --sizes small,base --json FILE
    python benchmarks/priors.py --priors residual --sizes small,base [--peer FOLDER] [--json FILE]

Each prior (512 codes, random weights) writes one row of codes twice: with its cache (the transformer's
keys and values, the WaveNet's rings), and by running the network over everything so far for every code.
The PixelCNN writes 256 codes, a grid of 16 x 16: with the rows and places that its stacks still see kept,
and by running it over the rows so far. So does the GPT, told a class (gpt) or another 256 codes, a map
(gpt-map); without its cache it computes what it says of the next code only, not of those before.
Both draw from the same uniform numbers; the codes must be equal. With one thread, times are of the
process's CPU, which is wall time on an idle core; the two ways take turns, the best of the rounds
counts. In a round the row is written once without the cache and five times with it: that is short, and
reads all weights for every code, so whoever else uses the memory disturbs it more.

The RQ-Transformer (residual) is measured beside the published one, whose checkout is FOLDER, or alone:
`priors_rq.py` does that, and says how.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.prior import PRIORS, GPTPrior, PixelCNNPrior, Prior, TransformerPrior, WaveNetPrior
from speechvq.prior.conditions import Given
from speechvq.prior.windows import Windows

CACHED = 5  # times a round
PICTURE = (16, 16)
PRIORS_HERE = "transformer,wavenet,pixelcnn,residual"
RESIDUAL = "residual"
TOLD = {"gpt": Given("label", 10, "label"), "gpt-map": Given("map", 64)}
"""What the GPT is told."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--priors", default=PRIORS_HERE)
    parser.add_argument("--sizes", default="tiny,small,base")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names, sizes = asked.priors.split(","), asked.sizes.split(",")
    rows = [
        measure(name, size, PICTURE if name in ("pixelcnn", *TOLD) else (asked.codes,), asked.rounds)
        for name in names
        if name != RESIDUAL
        for size in sizes
    ]
    for row in rows:
        print(
            f"{row['prior']:12} {row['size']:6} {row['parameters'] / 1e6:5.1f} M parameters, "
            f"{row['codes']} codes: "
            f"{row['cached_seconds']:6.2f} s with the cache ({row['codes_per_second']:.0f} codes/s), "
            f"{row['uncached_seconds']:7.2f} s without: {row['ratio']:.1f} x"
        )
    if RESIDUAL in names:
        from priors_rq import SIZES, rows_of

        known = [size for size in sizes if size in SIZES]
        rows += rows_of(known, [1, 16], peer=asked.peer, rounds=asked.rounds)
    print(f"one thread, {machine()}")
    if asked.json:
        found = {"rounds": asked.rounds, "rows": rows, "machine": machine()}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


def measure(name: str, size: str, grid: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """One prior, both ways in turn."""
    torch.manual_seed(0)
    if name in TOLD:
        prior = GPTPrior(512, size=size, given=(TOLD[name],)).eval()
    else:
        prior = PRIORS[name](512, size=size).eval()
    condition = conditions(prior, grid)
    ways = {
        "cached": lambda: cached(prior, grid, condition),
        "uncached": lambda: uncached(prior, grid, condition),
    }
    prior.generate((8, *grid[1:]), conditions(prior, (8, *grid[1:])))  # what is made at the first call only
    times: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, Tensor] = {}
    for _ in range(rounds):
        for way, write in ways.items():
            for _ in range(CACHED if way == "cached" else 1):
                spent, said[way] = clocked(write)
                times[way].append(spent)
    assert torch.equal(said["cached"], said["uncached"]), "the cache changes what is written"
    best = {way: min(spent) for way, spent in times.items()}
    return {
        "prior": name,
        "size": size,
        "codes": math.prod(grid),
        "parameters": sum(p.numel() for p in prior.parameters()),
        "cached_seconds": best["cached"],
        "uncached_seconds": best["uncached"],
        "ratio": best["uncached"] / best["cached"],
        "codes_per_second": math.prod(grid) / best["cached"],
        "equal_codes": True,
        "all_seconds": times,
    }


def conditions(prior: Prior, grid: tuple[int, ...]) -> dict[str, Tensor]:
    """Any class, or any map."""
    given = prior.given if isinstance(prior, GPTPrior) else ()
    shapes = {"label": (1,), "map": (1, 1, *grid)}
    return {one.name: torch.randint(one.size, shapes[one.kind]) for one in given}


def cached(prior: Prior, grid: tuple[int, ...], condition: dict[str, Tensor]) -> Tensor:
    """As `Prior.generate` does."""
    return prior.generate(grid, condition, Sampling(seed=1)).indices[0, 0].flatten()


@torch.no_grad()
def uncached(prior: Prior, grid: tuple[int, ...], condition: dict[str, Tensor]) -> Tensor:
    """The whole network over all that is there, for each code."""
    codes = math.prod(grid)
    uniforms, sampling = Uniforms(1, 1).draw(codes), Sampling(seed=1)
    row = torch.full((1, codes + 1), 512)  # "nothing" first
    for place in range(codes):
        logits = last_logits(prior, row[:, : place + 1], grid, condition)
        row[:, place + 1] = sample(logits, sampling, uniforms[:, place])
    assert Codes(row[None, :, 1:]).indices.max() < 512
    return row[0, 1:]


def last_logits(prior: Prior, before: Tensor, grid: tuple[int, ...], condition: dict[str, Tensor]) -> Tensor:
    """What the network says after tokens (1, L), without a cache: (1, Q); no more than that is computed."""
    if isinstance(prior, GPTPrior):
        parts = prior.conditions.read(condition, grid, 1, before.device)
        told = prior.conditions.row(parts, Windows.over(grid, prior.reading.window), (0, 0))
        return prior._hidden(told, before[:, 1:], grid)[:, -1] @ prior.leave.weight.T
    if isinstance(prior, PixelCNNPrior):
        return last_of_picture(prior, before[:, 1:], grid[1])
    if isinstance(prior, TransformerPrior):
        hidden = prior.net(prior._inputs(before, None))[:, -1]
        return torch.nn.functional.linear(hidden, prior.leave.weight, prior.leave.bias)
    assert isinstance(prior, WaveNetPrior)
    return prior.net(prior._inputs(before), prior._conditions(None, 1))[..., -1]


def last_of_picture(prior: PixelCNNPrior, said: Tensor, columns: int) -> Tensor:
    """The same for a grid: from the rows so far, of which the last is filled up with what is not seen."""
    row, column = divmod(said.shape[1], columns)
    filled = torch.nn.functional.pad(said, (0, columns - column)).view(1, row + 1, columns, 1)
    features = prior.net(prior._inputs(filled).permute(0, 3, 1, 2))[:, :, row, column]
    return prior.leave(features, said[:, :1])[:, 0]  # which code is told does not matter to the only one


def clocked(write: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Seconds of CPU time, and what was written."""
    begin = time.process_time()
    codes = write()
    return time.process_time() - begin, codes


def machine() -> str:
    """What it ran on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs, torch {torch.__version__}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
