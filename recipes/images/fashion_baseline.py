"""Train a baseline of the VQ-VAE of Fashion-MNIST: the same encoder, decoder, data, steps and optimiser.

python fashion_baseline.py gaussian data/fashion_mnist runs/fashion/gaussian.safetensors [--steps 2000]
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from baselines import Baseline, CategoricalVAE, GaussianVAE
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from speechvq.codec import Codec
from speechvq.image.conv import ConvDecoder, ConvEncoder
from speechvq.image.data import open_corpus
from speechvq.store.atomic import atomic
from speechvq.train.evaluate import endless
from speechvq.train.sampler import Order
from speechvq.train.schedule import Optimiser, set_rate

KINDS = ("gaussian", "categorical")
BATCH, RATE, CODES, DIM = 64, 1e-3, 256, 64
SHARED = {"colours": 1, "size": "small"}
LIKELIHOOD = "logistics"


def build(kind: str, weights: Path | None = None) -> Baseline:
    """A new baseline, or the one whose weights are in a file."""
    decoder = ConvDecoder(DIM, likelihood=LIKELIHOOD, **SHARED)
    if kind == "gaussian":
        model: Baseline = GaussianVAE(ConvEncoder(2 * DIM, **SHARED), decoder)
    else:
        model = CategoricalVAE(ConvEncoder(DIM, **SHARED), decoder, CODES)
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return model


def check(codec: Codec) -> None:
    """Stop if the VQ-VAE is not what the baselines were built like."""
    ours = build("categorical")
    sizes = [sum(p.numel() for p in part.parameters()) for part in (ours.encoder, ours.decoder)]
    theirs = [sum(p.numel() for p in part.parameters()) for part in (codec.encoder, codec.decoder)]
    if sizes != theirs:
        raise SystemExit(f"the VQ-VAE has {theirs} parameters, the baselines {sizes}: no comparison")


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    asked = parser.parse_args()
    torch.manual_seed(0)
    data = open_corpus({"root": asked.data}).split("train", hop=4)
    model, settings = build(asked.kind), Optimiser(lr=RATE)
    optimiser = settings.build(model)
    batches = endless(data, Order(len(data), BATCH), first=0, workers=0)
    bar = tqdm(islice(batches, asked.steps), asked.kind, total=asked.steps)
    for step, batch in enumerate(bar):
        set_rate(optimiser, settings.share(step, asked.steps))
        loss = model.loss(batch.signal)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.4f}")
    with atomic(asked.out) as temporary:
        save_file(model.state_dict(), temporary)


if __name__ == "__main__":
    main()
