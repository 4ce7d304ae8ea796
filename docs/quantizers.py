"""The pictures of quantizers.md, from the recordings that ship with the codec.

    python docs/quantizers.py            # about a minute; writes docs/quantizers_*.png and prints the figures

Vectors are log-mel frames (80 bands, 100 a second) of the examples; every sixth recording is held out.
Each quantizer learns them alone, without an encoder, through a linear map where it has one.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from speechvq.quantize import (
    FSQ,
    LFQ,
    Chance,
    GroupedQuantizer,
    Learning,
    Quantizer,
    ResidualQuantizer,
    Revival,
    Space,
    Start,
    VectorQuantizer,
)
from speechvq.quantize.health import Health
from speechvq.speech.audio import read_audio
from speechvq.speech.features import LogMel

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).parent
BANDS, BATCH, STEPS = 80, 512, 300
GRADIENT = Learning(by="gradient")


def frames() -> tuple[Tensor, Tensor]:
    """(frames to learn from, frames held out), (N, 80), of zero mean and unit variance in each band."""
    files = sorted((HERE.parent / "checkpoints/speech/examples").glob("*.flac"))
    mel = LogMel()
    own = [mel(read_audio(path)[None])[0].T for path in files]
    held = torch.cat(own[::6])
    learnt = torch.cat([one for i, one in enumerate(own) if i % 6])
    mean, deviation = learnt.mean(0), learnt.std(0)
    return (learnt - mean) / deviation, (held - mean) / deviation


def batches(x_ND: Tensor, steps: int, size: int = BATCH) -> Iterator[Tensor]:
    """``steps`` batches (1, 80, size) drawn at random."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        yield x_ND[torch.randint(len(x_ND), (size,), generator=generator)].T[None]


def learn(quantizer: Quantizer, x_ND: Tensor, steps: int = STEPS) -> Quantizer:
    """Fit the quantizer to the frames; what it has of parameters by their squared error."""
    parameters = list(quantizer.parameters())
    optimiser = torch.optim.Adam(parameters, lr=3e-3) if parameters else None
    for z in batches(x_ND, steps):
        quantized = quantizer(z)
        if optimiser is not None:
            loss = (quantized.vectors - z).square().mean() + sum(quantized.losses.values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return quantizer.eval()


@torch.no_grad()
def error(quantizer: Quantizer, held_ND: Tensor) -> float:
    """Mean squared error on the held-out frames, whose variance is about one."""
    z = held_ND.T[None]
    return float((quantizer.decode(quantizer.encode(z)) - z).square().mean() / z.var(correction=0))


def families() -> dict[str, list[Quantizer]]:
    """Quantizers of each kind, from few bits to many."""
    return {
        "VectorQuantizer": [VectorQuantizer(BANDS, 2**b) for b in (4, 6, 8, 10)],
        "VectorQuantizer, cosine, 16 channels": [
            VectorQuantizer(BANDS, 2**b, space=Space(dim=16, metric="cosine"), learning=GRADIENT)
            for b in (6, 8, 10)
        ],
        "ResidualQuantizer, 256 codes a depth": [ResidualQuantizer(BANDS, 256, d) for d in (1, 2, 4, 8)],
        "ResidualQuantizer, one shared codebook": [
            ResidualQuantizer(BANDS, 256, d, shared=True) for d in (2, 4, 8)
        ],
        "GroupedQuantizer, 256 codes a group": [GroupedQuantizer(BANDS, 256, g) for g in (2, 4, 8)],
        "FSQ": [
            FSQ(levels, dim=BANDS) for levels in ((8, 6, 5), (8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 6, 5))
        ],
        "LFQ": [LFQ(2**b, dim=BANDS) for b in (6, 8, 10, 12)],
    }


def draw_bits(learnt: Tensor, held: Tensor) -> None:
    """Error against bits a frame, for every kind."""
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for name, quantizers in families().items():
        bits = [q.num_codebooks * math.log2(q.codebook_size) for q in quantizers]
        errors = [error(learn(q, learnt), held) for q in quantizers]
        print(name, "  ".join(f"{b:.0f} bits: {e:.3f}" for b, e in zip(bits, errors, strict=True)), sep=": ")
        axes.plot(bits, errors, "o-", label=name)
    axes.set(xscale="log", yscale="log", xlabel="bits a frame", ylabel="error / variance, held-out frames")
    axes.set_xticks(ticks := [4, 6, 8, 10, 16, 32, 64], ticks)
    axes.set_xticks([], minor=True)
    axes.set_title("What a bit buys: log-mel frames, 80 bands")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(HERE / "quantizers_bits.png", dpi=110)


def draw_health(learnt: Tensor) -> None:
    """A healthy run beside two sick ones: error, use and how evenly codes are used."""
    never, far = Revival(threshold=0), Start(by="normal")
    runs = {
        "k-means start, revival (the defaults)": VectorQuantizer(BANDS, 512),
        "random start, revival": VectorQuantizer(BANDS, 512, start=far),
        "random start, no revival": VectorQuantizer(BANDS, 512, start=far, revival=never),
        "codes drawn, temperature 20": VectorQuantizer(BANDS, 512, chance=Chance(temperature=20.0)),
    }
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for name, quantizer in runs.items():
        errors, used, health = [], [], Health()
        for step, z in enumerate(batches(learnt, 2 * STEPS)):
            stats = quantizer(z).stats
            errors.append(float(stats["error"]))
            if step % 20 == 0:
                health = Health()
            health.add(stats)
            if step % 20 == 19:
                used.append(health.figures().codebooks[0].usage)
        print(f"{name}:\n{health.figures()}")
        counts = quantizer.eval()(learnt.T[None]).stats["counts"][0].sort(descending=True).values
        left.plot(errors, label=name, lw=1)
        middle.plot(range(20, 2 * STEPS + 1, 20), used, label=name)
        right.plot(counts[counts > 0] / counts.sum(), label=name)
    left.set(xlabel="step", title="error / variance of a batch", yscale="log")
    middle.set(xlabel="step", title="share of 512 codes used in 20 steps", ylim=(0, 1.02))
    right.set(xlabel="code, by use", title="share of the frames", yscale="log")
    left.legend(fontsize=8)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "quantizers_health.png", dpi=110)


def main() -> None:
    """Learn, draw, print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    torch.manual_seed(0)
    learnt, held = frames()
    print(f"{len(learnt)} frames, {len(held)} held out")
    draw_bits(learnt, held)
    draw_health(learnt)


if __name__ == "__main__":
    main()
