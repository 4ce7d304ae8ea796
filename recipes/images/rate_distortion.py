"""Distortion against rate: a codebook that is visited more often, and one that is larger.

    python rate_distortion.py runs/rate_distortion data/fashion_mnist outputs/images/rate_distortion

"Autoregressive Image Generation using Residual Quantization" (Lee et al. 2022, figure 3, in small): the
mean squared error of held-out pictures (32 x 32, in bytes, 0 to 255), of codecs that differ in their
quantizer only.
"""

import math
import sys
from pathlib import Path

import matplotlib as mpl
import torch
from findings import keep, report
from splits import first
from tqdm import tqdm

from speechvq.codec import Codec
from speechvq.image.data import PictureData, open_corpus
from speechvq.store.atomic import atomic

PICTURES = 2000


@torch.no_grad()
def measured(folder: Path, data: PictureData) -> tuple[dict[str, float], torch.Tensor]:
    """Rate, distortion and use of the codes of one codec; and the first ten pictures it made."""
    codec = Codec.from_pretrained(folder / "codec")
    error, used, shown = 0.0, [], None
    for batch in tqdm(list(first(data, PICTURES, 100)), folder.name):
        codes = codec.encode(batch.signal)
        made = codec.decode(codes, size=tuple(batch.signal.shape[2:]))
        error += float(((made - batch.signal) * 127.5).square().double().mean()) * len(made)
        used.append(codes.indices.flatten(2).movedim(1, 0).flatten(1))
        shown = made[:10] if shown is None else shown
    indices = torch.cat(used, dim=1)
    size = codec.quantizer.codebook_size
    assert shown is not None
    return {
        "depth": codec.quantizer.num_codebooks,
        "codes": size,
        "bits": indices.shape[0] * indices.shape[1] / min(PICTURES, len(data)) * math.log2(size),
        "mean squared error": error / min(PICTURES, len(data)),
        "used": len(indices.unique()) / size,
    }, shown


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Both ways to spend bits."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    least = min(row["codes"] for row in rows)
    for name, chosen in (
        (f"{least:.0f} codes, visited more often", [r for r in rows if r["codes"] == least]),
        ("one visit, more codes", [r for r in rows if r["depth"] == 1]),
    ):
        chosen = sorted(chosen, key=lambda r: r["bits"])
        x, y = [r["bits"] for r in chosen], [r["mean squared error"] for r in chosen]
        axes.plot(x, y, marker="o", label=name)
        for row, a, b in zip(chosen, x, y, strict=True):
            text = f"{row['depth']:.0f}" if row["codes"] == least else f"{row['codes']:.0f}"
            axes.annotate(text, (a, b), xytext=(4, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="bits per picture", ylabel="mean squared error (bytes)", xscale="log")
    bits = sorted({row["bits"] for row in rows})
    axes.set_xticks(bits, [f"{b:.0f}" for b in bits], fontsize=8)
    axes.minorticks_off()
    axes.legend(frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


def main(runs: Path, root: str, out: Path) -> None:
    """Everything, to ``out/figures.json``, a plot and a sheet."""
    out.mkdir(parents=True, exist_ok=True)
    data = open_corpus({"root": root, "size": 32}).split("test", hop=8)
    folders = [path.parent for path in runs.glob("depth*-codes*/codec")]
    found = [measured(folder, data) for folder in folders]
    found.sort(key=lambda pair: (pair[0]["bits"], pair[0]["depth"]))
    rows = [row for row, _ in found]
    real = next(first(data, 10, 10)).signal
    keep(torch.cat([real, *(made for _, made in found)]), out / "reconstructions.png", columns=10)
    plot(rows, out / "plot.png")
    report({"pictures": min(PICTURES, len(data)), "rows": rows}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
