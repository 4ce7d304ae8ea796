"""Stacks of four codes on 8 x 8 places beside one code on 16 x 16: fidelity, made-up frames, speed.

    python rq.py runs/rq runs/vizdoom data/vizdoom outputs/images/rq

"Autoregressive Image Generation using Residual Quantization" (Lee et al. 2022, tables 2 and 4, in small).
Both codecs spend the same bits on a frame. Frechet distances are of EfficientNet-Lite features. Speed is of
one thread: best of three rounds in which the contestants take turns, by the process's CPU time.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from findings import TOGETHER, again, keep, looks, report
from game import FRAMES, frames
from torch import Tensor
from tqdm import tqdm

from speechvq.codec import Codec, Codes
from speechvq.image.data import open_corpus
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.score.pictures import frechet_distance, psnr

BATCHES, ROUNDS = (1, 16, 64), 3
SIZE = (64, 64)


def made_up(codec: Codec, prior: Prior, count: int) -> Tensor:
    """``count`` frames (count, 3, H, W), told nothing."""
    grid = codec.encoder.grid(SIZE)
    seeds = tqdm(range(math.ceil(count / TOGETHER)), prior.spec["name"])
    made = [
        codec.decode(prior.generate(grid, None, Sampling(top_k=100, seed=s), count=TOGETHER)) for s in seeds
    ]
    return torch.cat(made)[:count]


def clocked(work: Callable[[], object]) -> float:
    """Seconds of the process's CPU time."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def speed(pairs: dict[str, tuple[Codec, Prior]]) -> list[dict[str, object]]:
    """Pictures a second, codes alone and with decoding, at each batch size."""
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for count in BATCHES:
        codes: dict[str, Codes] = {}

        def write(name: str, count: int = count, codes: dict[str, Codes] = codes) -> None:
            codec, prior = pairs[name]
            codes[name] = prior.generate(codec.encoder.grid(SIZE), sampling=Sampling(seed=1), count=count)

        def show(name: str, codes: dict[str, Codes] = codes) -> None:
            pairs[name][0].decode(codes[name])

        found: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
        for _ in range(ROUNDS):
            for name in pairs:
                found[name].append((clocked(lambda n=name: write(n)), clocked(lambda n=name: show(n))))
        best = {name: (min(w for w, _ in t), min(s for _, s in t)) for name, t in found.items()}
        row: dict[str, object] = {"batch": count}
        for name, (writing, showing) in best.items():
            row[name] = {"codes": count / writing, "pictures": count / (writing + showing)}
        rows.append(row)
    return rows


@torch.no_grad()
def main(runs: Path, beside: Path, root: str, out: Path) -> None:
    """Everything, to ``out/figures.json`` and sheets."""
    out.mkdir(parents=True, exist_ok=True)
    test = open_corpus({"root": root}).split("test", hop=8)
    real = frames(test)
    wanted = looks(real)
    stacks, single = (Codec.from_pretrained(f / "critic/codec") for f in (runs, beside))
    priors = {name: Prior.from_pretrained(runs / name / "prior") for name in ("hard", "soft")}
    priors["single"] = Prior.from_pretrained(beside / "free/prior")
    found: dict[str, object] = {"frames": FRAMES, "codecs": {}, "priors": {}}
    shown = [real[:: FRAMES // 10][:10]]
    for name, codec in (("single", single), ("stacks", stacks)):
        made = again(codec, real)
        places, quantizer = math.prod(codec.encoder.grid(SIZE)), codec.quantizer
        found["codecs"][name] = {
            "bits": places * quantizer.num_codebooks * math.log2(quantizer.codebook_size),
            "Frechet": frechet_distance(looks(made), wanted),
            "PSNR": float(psnr(made, real).mean()),
        }
        shown.append(made[:: FRAMES // 10][:10])
    keep(torch.cat(shown), out / "reconstructions.png", columns=10)
    for name, prior in priors.items():
        codec = single if name == "single" else stacks
        prior.check(codec.fingerprint)
        made = made_up(codec, prior, FRAMES)
        parameters = sum(p.numel() for p in prior.parameters())
        distance = frechet_distance(looks(made), wanted)
        found["priors"][name] = {"parameters": parameters, "Frechet": distance}
        keep(made[:20], out / f"{name}.png", columns=10)
    found["speed"] = speed({"single": (single, priors["single"]), "stacks": (stacks, priors["soft"])})
    report(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
