"""What can be read from the middle of a prior of pictures: linear probes on what its blocks say.

As in "Generative Pretraining from Pixels" (Chen et al. 2020) and "Vector-quantized Image Modeling with
Improved VQGAN" (Yu et al. 2022): a prior that was told nothing reads the codes of a picture, what a block
says is averaged over all places, and a linear classifier learns the classes from that. Beside it stand the
pictures themselves, the same network with random weights, and always naming the most frequent class.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from speechvq.codec import Codec
from speechvq.errors import BadSetting
from speechvq.image.data import PictureCorpus, PictureData
from speechvq.prior import PRIORS, GPTPrior, Prior
from speechvq.score.linear_probe import LinearProbe, LinearProbeSettings, linear_probe
from speechvq.score.tables import columns

SIDE = 32
"""Raw pictures that have more pixels a side are averaged down to as many for their probe."""
TOGETHER = 64  # pictures that are read at a time


@dataclass(frozen=True)
class PriorProbes:
    """What can be read from a prior, and beside it.

    Attributes:
        classes: that are told apart.
        layers: by the number of the block, the first is 1.
        random: the same of the same network with random weights.
        pixels: of the pictures.
    """

    classes: int
    layers: dict[int, LinearProbe]
    random: dict[int, LinearProbe]
    pixels: LinearProbe

    @property
    def best(self) -> int:
        """The block that was best on held-out pictures; what was found on test pictures has no say."""
        return max(self.layers, key=lambda layer: self.layers[layer].held_out)

    def table(self) -> Table:
        """For a terminal."""
        title = f"Linear probes: {self.classes} classes, {self.pixels.test:,} test pictures"
        rows = [
            (
                f"block {layer}" + (" (chosen)" if layer == self.best else ""),
                f"{probe.accuracy:.1%}", f"{self.random[layer].accuracy:.1%}", f"{probe.strength:g}",
            )
            for layer, probe in self.layers.items()
        ]  # fmt: skip
        rows += [("raw pixels", f"{self.pixels.accuracy:.1%}", "", f"{self.pixels.strength:g}")]
        rows += [("most frequent class", f"{self.pixels.majority:.1%}", "", "")]
        return columns(title, ("", "accuracy", "with random weights", "C"), rows)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"best": self.best} | asdict(self)


def probe_prior(
    prior: Prior,
    codec: Codec,
    corpus: PictureCorpus,
    *,
    layers: Sequence[int] | None = None,
    pictures: int = 10_000,
    settings: LinearProbeSettings = LinearProbeSettings(),  # noqa: B008 (frozen)
) -> PriorProbes:
    """Let probes learn classes from what a prior says of training pictures, and score them on others.

    Args:
        prior: told nothing, on the device where it is to work.
        codec: whose codes it models, on the same.
        corpus: pictures with labels, of the splits train, and test or valid.
        layers: numbers of its blocks, the first is 1; None for all.
        pictures: drawn from each split, at most; 0 takes all.
        settings: how the probes learn; its seed also draws pictures and random weights.

    Raises:
        BadSetting: the prior has no blocks to look at, or is told something; there is no such block; the
            pictures have no labels, or are not such as the codec sees.
        BadCodes: the prior is of another codec.
        MissingExtra: scikit-learn is not installed.
    """
    prior, held, layers = _check(prior, codec, corpus, layers, pictures)
    fresh = _fresh(prior, settings.seed)
    sets = []
    for split in ("train", held):
        data = corpus.split(split, hop=codec.encoder.hop, still=True)
        rows = np.random.default_rng(settings.seed).permutation(len(data))[: pictures or None]
        sets.append(_read(data, sorted(rows.tolist()), codec, {"layers": prior, "random": fresh}, layers))
    (train, names), (test, wanted) = sets
    bar = tqdm(train, "learning to name classes", leave=False, disable=None)
    found = {key: linear_probe((train[key], names), (test[key], wanted), settings) for key in bar}
    layered = {kind: {layer: found[kind, layer] for layer in layers} for kind in ("layers", "random")}
    return PriorProbes(len(np.unique(names)), **layered, pixels=found["pixels", 0])


def _check(
    prior: Prior, codec: Codec, corpus: PictureCorpus, layers: Sequence[int] | None, pictures: int
) -> tuple[GPTPrior, str, list[int]]:
    """The prior, the split to be scored on, and the blocks."""
    if not isinstance(prior, GPTPrior):
        raise BadSetting(
            f"a linear probe looks at the blocks of a prior 'gpt', not of {prior.spec['name']!r}"
        )
    if prior.given:
        told = ", ".join(one.name for one in prior.given)
        raise BadSetting(f"this prior is told {told}; a probe needs one that is told nothing")
    prior.check(codec.fingerprint)
    blocks = prior.net.depth.layers
    layers = list(range(1, blocks + 1)) if layers is None else sorted(set(layers))
    if not layers or not all(1 <= layer <= blocks for layer in layers):
        raise BadSetting(
            f"this prior has the layers 1 to {blocks}, not {', '.join(map(str, layers)) or 'none'}"
        )
    if pictures < 0:
        raise BadSetting(f"{pictures} pictures cannot be drawn; give 0 (all) or more")
    if "label" not in corpus.conditions:
        raise BadSetting(
            f"the pictures of {corpus.settings.root} have no labels, so there is nothing to name"
        )
    if (sees := getattr(codec.encoder, "colours", None)) != corpus.channels:
        raise BadSetting(f"the codec sees {sees or 'no'} channels, and the pictures have {corpus.channels}")
    held = next((split for split in ("test", "valid") if corpus.source.counts.get(split)), None)
    if held is None:
        raise BadSetting(f"{corpus.settings.root} has no pictures of a split test or valid to be scored on")
    return prior, held, layers


def _fresh(prior: GPTPrior, seed: int) -> GPTPrior:
    """The same network with random weights, where the other is."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = PRIORS.build(prior.spec)
    assert isinstance(fresh, GPTPrior)
    return fresh.to(prior.enter.weight.device).eval()


def _read(
    data: PictureData, rows: Sequence[int], codec: Codec, priors: dict[str, Any], layers: Sequence[int]
) -> tuple[dict[tuple[str, int], np.ndarray], np.ndarray]:
    """Features (N, D) by what they are of and the block, and labels (N,)."""
    found: dict[tuple[str, int], list[Tensor]] = {}
    labels, device = [], next(codec.parameters()).device
    bar = tqdm(range(0, len(rows), TOGETHER), "reading pictures", leave=False, disable=None)
    for first in bar:
        batch = data.collate([data[0, i] for i in rows[first : first + TOGETHER]])
        codes = codec.encode(batch.signal.to(device))
        for kind, prior in priors.items():
            states = prior.features(codes)
            for layer in layers:
                found.setdefault((kind, layer), []).append(states[layer - 1].float().mean(1).cpu())
        height, width = (min(side, SIDE) for side in batch.signal.shape[2:])
        found.setdefault(("pixels", 0), []).append(
            F.adaptive_avg_pool2d(batch.signal, (height, width)).flatten(1)
        )
        labels.append(batch.condition["label"])
    return {key: torch.cat(parts).numpy() for key, parts in found.items()}, torch.cat(labels).numpy()
