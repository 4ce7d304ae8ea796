"""What ViT-VQGAN's codes and its transformer are worth in small, in figures and on sheets.

    python vit.py runs/vit data/vizdoom data/fashion_mnist outputs/images/vit 10000

Codes, on frames of a game: how many of 8192 are used over an epoch of training frames, and how evenly, when
they are factorised and of length one and when they are neither, once started on data and revived when they
die, once as they start at random; PSNR of held-out frames, beside what the mean of each patch would tell.
Features, on Fashion-MNIST: what a linear
classifier reads from the blocks of transformers that were told nothing, VIM over the codes of ViT-VQGAN and
that of VQGAN, from the same networks with random weights, and from raw pixels; the last argument is how many
pictures of each split they take, at most.
"""

import math
import sys
from pathlib import Path

import torch
from findings import TOGETHER, again, keep, report, steps
from splits import first, spread
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from speechvq.codec import Codec
from speechvq.image.data import PictureData, open_corpus
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.score.codes import perplexity, usage
from speechvq.score.pictures import psnr
from speechvq.score.prior_probe import probe_prior

FRAMES = 384
"""Held-out frames."""
CODES = ("factorised", "factorised_at_once", "plain", "factorised_bare", "plain_bare")
PATCH = 8
"""Pixels a side that became one code of a frame."""
TRANSFORMERS = {"vim": "clothes", "gpt": "clothes_vqgan"}
"""Runs of transformers, and of the codecs whose codes they model."""


@torch.no_grad()
def counts(codec: Codec, data: PictureData, name: str) -> Tensor:
    """How often each code occurs in all pictures, (codebook_size,)."""
    size = codec.quantizer.codebook_size
    found = torch.zeros(size, dtype=torch.int64)
    total = math.ceil(len(data) / TOGETHER)
    for batch in tqdm(first(data, len(data), TOGETHER), f"codes of {name}", total=total):
        found += torch.bincount(codec.encode(batch.signal).indices.flatten(), minlength=size)
    return found


def codebooks(runs: Path, root: str, out: Path) -> dict[str, object]:
    """Use of the codebook over an epoch, and what the codes, or means of patches, tell of held-out frames."""
    corpus, found = open_corpus({"root": root}), {}
    train, test = (corpus.split(name, hop=PATCH, still=True) for name in ("train", "test"))
    real = torch.cat([batch.signal for batch in spread(test, FRAMES)])
    rows = [real[:: max(1, len(real) // 10)][:10]]
    for name in CODES:
        codec = Codec.from_pretrained(runs / name / "codec")
        seen, made = counts(codec, train, name), again(codec, real)
        found[name] = {
            "codes": len(seen),
            "codes looked up": int(seen.sum()),
            "used": usage(seen),
            "perplexity": perplexity(seen),
            "PSNR": float(psnr(made, real).mean()),
        }
        rows.append(made[:: max(1, len(real) // 10)][:10])
    keep(torch.cat(rows), out / "codes.png", columns=10)
    means = F.interpolate(F.avg_pool2d(real, PATCH, ceil_mode=True), scale_factor=PATCH)
    means = means[..., : real.shape[2], : real.shape[3]]
    return {"codebooks": found, "means": float(psnr(means, real).mean())}


def features(runs: Path, root: str, out: Path, pictures: int) -> dict[str, dict[str, object]]:
    """What linear probes read."""
    corpus, found = open_corpus({"root": root}), {}
    real = next(spread(corpus.split("test", hop=4), 12)).signal
    rows = [real]
    for name, codes in TRANSFORMERS.items():
        codec, prior = (
            Codec.from_pretrained(runs / codes / "codec"),
            Prior.from_pretrained(runs / name / "prior"),
        )
        probes = probe_prior(prior, codec, corpus, pictures=pictures)
        found[name] = probes.plain() | {"nats": nats(prior, codec, corpus.split("test", hop=4))}
        rows.append(again(codec, real))
        drawn = prior.generate(codec.encoder.grid(corpus.size), None, Sampling(top_k=100), count=24)
        keep(codec.decode(drawn), out / f"{name}.png", columns=12)
    keep(torch.cat(rows), out / "clothes.png", columns=12)
    return found


@torch.no_grad()
def nats(prior: Prior, codec: Codec, data: PictureData, count: int = 500) -> float:
    """What a code of a held-out picture costs."""
    found = [prior.loss(codec.encode(batch.signal)) for batch in first(data, count)]
    return float(torch.stack(found).mean())


def main(runs: Path, game: str, clothes: str, out: Path, pictures: int) -> None:
    """Everything, to ``out/figures.json`` and sheets."""
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {"steps": steps(runs)}
    found |= codebooks(runs, game, out)
    found["features"] = features(runs, clothes, out, pictures)
    report(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
