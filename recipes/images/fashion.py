"""What the VQ-VAE of Fashion-MNIST is worth: bits per dimension beside its baselines, and samples by class.

    python fashion.py runs/fashion data/fashion_mnist outputs/images/fashion

Bits per dimension are upper bounds of -log2 p(picture) per pixel over held-out pictures, all of the same
likelihood of the stored levels: for the VQ-VAE what its codes cost, by a uniform prior or by the PixelCNN,
and the pixels given them (the class that the PixelCNN is told is paid for as one of ten); for the baselines
the bound of one sample and of fifty. Samples of each class are judged by a small classifier that was trained
on real pictures: all that are drawn, and of four times as many the quarter of which another such classifier
is surest.
"""

import json
import math
import sys
from pathlib import Path

import torch
from fashion_baseline import KINDS, build, check
from findings import keep, report
from splits import first, shuffled
from torch import Tensor, nn
from tqdm import tqdm

from speechvq.codec import Codec
from speechvq.image.bits import bits_per_dim
from speechvq.image.data import PictureData, open_corpus
from speechvq.nets.sampling import Sampling
from speechvq.prior import Prior
from speechvq.prior.given import class_nats
from speechvq.prior.rejection import best_of

BOUND_OF, PICTURES, EACH, BEST_OF = 50, 1000, 40, 4
"""Samples of the tighter bound, pictures for bounds, samples of each class, drawn for each that is kept."""


@torch.no_grad()
def bits(runs: Path, data: PictureData) -> dict[str, float]:
    """Mean bits per dimension of everybody."""
    codec, prior = Codec.from_pretrained(runs / "vqvae/codec"), Prior.from_pretrained(runs / "pixelcnn/prior")
    check(codec)
    prior.check(codec.fingerprint)
    everybody = {kind: build(kind, runs / f"{kind}.safetensors").eval() for kind in KINDS}
    sums: dict[str, float] = {}
    torch.manual_seed(0)
    for batch in tqdm(list(first(data, PICTURES)), "bits"):
        label = {"label": batch.condition["label"]}
        found = {"vqvae, uniform": bits_per_dim(codec, batch.signal)}
        found["vqvae, PixelCNN"] = bits_per_dim(
            codec, batch.signal, code_nats=lambda codes, label=label: prior.nats(codes, label)
        )
        found["vqvae, PixelCNN"] += class_nats(prior) / (math.log(2) * batch.signal[0].numel())
        for kind, model in everybody.items():
            found[f"{kind}, one sample"] = model.bits_per_dim(batch.signal)
            found[f"{kind}, {BOUND_OF} samples"] = model.bits_per_dim(batch.signal, BOUND_OF)
        for name, values in found.items():
            sums[name] = sums.get(name, 0.0) + float(values.double().sum())
    return {name: total / min(PICTURES, len(data)) for name, total in sums.items()}


class Classifier(nn.Sequential):
    """Two convolutions and two linear layers."""

    def __init__(self, classes: int) -> None:
        """Of 28 x 28 grey pictures."""
        parts = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        parts += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        super().__init__(*parts, nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, classes))


def classifier(
    train: PictureData, classes: int, steps: int = 1500, size: int = 64, *, seed: int = 0
) -> Classifier:
    """Trained on real pictures."""
    torch.manual_seed(seed)
    model = Classifier(classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for batch in tqdm(shuffled(train, steps, size), "classifier", total=steps):
        loss = nn.functional.cross_entropy(model(batch.signal), batch.condition["label"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def right(model: Classifier, pictures: Tensor, labels: Tensor) -> float:
    """Share that the classifier recognises."""
    return float((model(pictures).argmax(1) == labels).double().mean())


@torch.no_grad()
def dreams(runs: Path, classes: int, each: int = EACH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``each`` new pictures of every class, drawn at temperature 1, and their labels."""
    codec, prior = Codec.from_pretrained(runs / "vqvae/codec"), Prior.from_pretrained(runs / "pixelcnn/prior")
    labels = torch.arange(classes).repeat_interleave(each)
    codes = prior.generate(
        codec.encoder.grid((28, 28)), {"label": labels}, Sampling(seed=seed), count=len(labels)
    )
    return codec.decode(codes), labels


@torch.no_grad()
def choicest(judge: Classifier, pictures: Tensor, labels: Tensor) -> Tensor:
    """Of every class the `EACH` that the judge is surest to be of it, best first: (classes, EACH, ...)."""
    sure = judge(pictures).softmax(1).gather(1, labels[:, None])[:, 0]
    groups = (len(labels.unique()), -1)
    return best_of(pictures.unflatten(0, groups), sure.view(groups), EACH)


def main(runs: Path, root: str, out: Path) -> None:
    """Everything, to ``out/figures.json`` and sheets."""
    out.mkdir(parents=True, exist_ok=True)
    corpus = open_corpus({"root": root})
    test, train = corpus.split("test", hop=4), corpus.split("train", hop=4, still=True)
    log = (runs / "vqvae/log.jsonl").read_text().splitlines()
    found: dict[str, object] = {"steps": json.loads(log[-1])["step"], "pictures": min(PICTURES, len(test))}
    found["bits per dimension"] = bits(runs, test)
    model = classifier(train, len(corpus.classes))
    real = next(first(test, 2000, 2000))
    found["real pictures recognised"] = right(model, real.signal, real.condition["label"])
    codec = Codec.from_pretrained(runs / "vqvae/codec")
    again = codec.decode(codec.encode(real.signal[:500]))
    found["reconstructions recognised"] = right(model, again, real.condition["label"][:500])
    made, labels = dreams(runs, len(corpus.classes))
    found["samples recognised"] = right(model, made, labels)
    each = made.unflatten(0, (-1, EACH))
    found["by class"] = {
        name: right(model, each[i], torch.full((EACH,), i)) for i, name in enumerate(corpus.classes)
    }
    keep(each[:, :12].flatten(0, 1), out / "samples.png", columns=12)
    # Who chooses is not who judges, or the figure would say nothing.
    judge = classifier(train, len(corpus.classes), seed=1)
    best = choicest(judge, *dreams(runs, len(corpus.classes), BEST_OF * EACH, seed=1))
    found[f"best of {BEST_OF} recognised"] = right(model, best.flatten(0, 1), labels)
    keep(best[:, :12].flatten(0, 1), out / f"best_of_{BEST_OF}.png", columns=12)
    keep(torch.cat([real.signal[:12], again[:12]]), out / "reconstructions.png", columns=12)
    report(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
