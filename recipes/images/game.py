"""What VQGAN and its transformers are worth on frames of a game, in figures and on sheets.

    python game.py runs/vizdoom data/vizdoom outputs/images/vizdoom

Reconstructions of held-out frames with and without a critic: Frechet distance of EfficientNet-Lite features
(not comparable with an Inception FID), PSNR, SSIM, the perceptual distance of training. Frames that were told
depth or classes: how well small networks, trained on real frames, find the condition again in them, beside
frames that belong to another condition, and beside the real frames.
"""

import sys
from pathlib import Path

import torch
from findings import TOGETHER, again, keep, looks, report, steps
from guessers import Guesser, learn
from splits import spread
from torch import Tensor
from tqdm import tqdm

from speechvq.codec import Codec, Codes
from speechvq.image.data import PictureData, open_corpus
from speechvq.image.views import view
from speechvq.losses.perceptual import Perceptual
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.score.pictures import depth_correlation, frechet_distance, overlap, psnr, ssim

FRAMES, MADE = 384, 64
SAMPLING = Sampling(top_k=100)


def frames(data: PictureData) -> Tensor:
    """`FRAMES` frames, spread over all games."""
    return torch.cat([batch.signal for batch in spread(data, FRAMES)])


@torch.no_grad()
def reconstructions(runs: Path, data: PictureData, out: Path) -> dict[str, dict[str, float]]:
    """Figures of each codec."""
    real = frames(data)
    wanted, found, rows = looks(real), {}, [real[:: FRAMES // 10][:10]]
    for name in tqdm(("warm", "plain", "critic"), "codecs"):
        made = again(Codec.from_pretrained(runs / name / "codec"), real)
        parts = zip(made.split(TOGETHER), real.split(TOGETHER), strict=True)
        distance = torch.stack([Perceptual()(a, b) for a, b in parts]).mean()
        found[name] = {
            "Frechet": frechet_distance(looks(made), wanted),
            "PSNR": float(psnr(made, real).mean()),
            "SSIM": float(ssim(made, real).mean()),
            "perceptual": float(distance),
        }
        rows.append(made[:: FRAMES // 10][:10])
    keep(torch.cat(rows), out / "reconstructions.png", columns=10)
    return found


@torch.no_grad()
def told(
    runs: Path, name: str, kind: str, data: PictureData, guesser: Guesser, out: Path
) -> dict[str, float]:
    """How well frames follow the map ``kind`` that they were told."""
    codec = Codec.from_pretrained(runs / "critic/codec")
    prior = Prior.from_pretrained(runs / f"from_{name}/prior")
    other = Codec.from_pretrained(runs / name / "codec")
    made, real, maps, shown = [], [], [], []
    for batch in tqdm(list(spread(data, MADE, TOGETHER)), f"told {name}"):
        seen = view(kind, batch.signal, batch.condition, classes=other.encoder.colours)
        codes = other.encode(seen).indices
        grid = codec.encoder.grid(tuple(batch.signal.shape[2:]))
        new = prior.generate(grid, {kind: codes}, SAMPLING, count=len(codes))
        made.append(codec.decode(new))
        real.append(batch.signal)
        maps.append(batch.condition[kind])
        shown.append(seen)
    everything = [torch.cat(parts) for parts in (shown, made, real)]
    keep(everything[0][:10], out / f"{name}.png", columns=10)
    keep(torch.cat([x[:10] for x in everything[1:]]), out / f"from_{name}.png", columns=10)
    _, new, real_frames = everything
    wanted = torch.cat(maps)
    return {
        "made": _follows(guesser, new, wanted, kind),
        "made, another's condition": _follows(guesser, new, wanted.roll(MADE // 2, 0), kind),
        "real": _follows(guesser, real_frames, wanted, kind),
        "real, another's condition": _follows(guesser, real_frames, wanted.roll(MADE // 2, 0), kind),
    }


def _follows(guesser: Guesser, pictures: Tensor, wanted: Tensor, kind: str) -> float:
    said = torch.cat([guesser(part) for part in pictures.split(TOGETHER)])
    if kind == "depth":
        return float(depth_correlation(said, wanted).mean())
    return overlap(said.argmax(1), wanted, classes=said.shape[1]).mean_iou


@torch.no_grad()
def free(runs: Path, data: PictureData, out: Path) -> dict[str, float]:
    """Frames told nothing, and one twice as wide by sliding windows."""
    codec, prior = Codec.from_pretrained(runs / "critic/codec"), Prior.from_pretrained(runs / "free/prior")
    real = frames(data)
    height, width = codec.encoder.grid(tuple(real.shape[2:]))
    made = []
    for seed in range(FRAMES // TOGETHER):
        codes = prior.generate((height, width), None, Sampling(top_k=100, seed=seed), count=TOGETHER)
        made.append(codec.decode(codes))
    wide = prior.generate((height, 2 * width), None, SAMPLING, count=4)
    keep(torch.cat(made)[:20], out / "free.png", columns=10)
    keep(codec.decode(Codes(wide.indices)), out / "wide.png", columns=2)
    return {"Frechet": frechet_distance(looks(torch.cat(made)), looks(real))}


def main(runs: Path, root: str, out: Path) -> None:
    """Everything, to ``out/figures.json`` and sheets."""
    out.mkdir(parents=True, exist_ok=True)
    corpus = open_corpus({"root": root})
    train, test = corpus.split("train", hop=4, still=True), corpus.split("test", hop=4)
    found: dict[str, object] = {"frames": FRAMES, "steps": steps(runs)}
    found["reconstructions"] = reconstructions(runs, test, out)
    classes = len(corpus.names["segmentation"])
    deep, things = (learn(train, kind, n, steps=500) for kind, n in (("depth", 1), ("segmentation", classes)))
    found["depth correlation"] = told(runs, "depth", "depth", test, deep, out)
    found["mean IoU"] = told(runs, "classes", "segmentation", test, things, out)
    found["told nothing"] = free(runs, test, out)
    report(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
