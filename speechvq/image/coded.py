"""Pictures as the codes of a finished codec, seen once and whole: what a prior learns from.

Beside them lies what the prior is told: labels, and the codes that other codecs make of other views.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting
from speechvq.image.data import PictureCorpus
from speechvq.image.views import view

TOGETHER = 32  # pictures that are encoded at a time

type Row = dict[str, Tensor]


class CodedPictures(Dataset[Row]):
    """Codes by (epoch, index), in every epoch the same."""

    def __init__(self, codes: Tensor, condition: dict[str, Tensor]) -> None:
        """``codes`` (N, K, h, w), and named tensors with N rows."""
        self.codes, self.condition = codes, condition

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: tuple[int, int]) -> Row:
        """Codes and conditions of the picture ``index``."""
        _, index = key
        return {"": self.codes[index]} | {name: rows[index] for name, rows in self.condition.items()}

    def collate(self, items: Sequence[Row]) -> Batch:
        """A `Batch` with codes (B, K, h, w) for a signal."""
        stacked = {name: torch.stack([item[name] for item in items]).long() for name in items[0]}
        return Batch(stacked.pop(""), None, stacked)


def open_codes(
    corpus: PictureCorpus,
    codec: Codec,
    splits: Sequence[str],
    *,
    told: Mapping[str, Codec | None],
    voices: Sequence[str] = (),
    device: str = "cpu",
) -> dict[str, CodedPictures]:
    """The codes of all pictures of some splits, cut at their middle and not mirrored.

    Args:
        corpus: the pictures.
        codec: finished; it is left on ``device``.
        splits: which.
        told: what else is kept: a view by the codec that makes its codes, or, without one, what the
            pictures come with as it is ("label").
        voices: not used; pictures have none.
        device: where to encode.

    Raises:
        BadSetting: the pictures come without what is to be told.
    """
    if missing := [name for name, other in told.items() if other is None and name not in corpus.conditions]:
        there = ", ".join(corpus.conditions) or "nothing else"
        raise BadSetting(f"these pictures have no {missing[0]}; they have {there}")
    if told and corpus.settings.view != "picture":
        raise BadSetting("what a prior is told comes beside pictures; leave data.view out")
    codecs = {"": codec} | {name: other for name, other in told.items() if other is not None}
    for one in codecs.values():
        one.to(device)
    found = {}
    for split in splits:
        data = corpus.split(split, hop=codec.encoder.hop, still=True)
        rows: dict[str, list[Tensor]] = {name: [] for name in ("", *told)}
        for first in tqdm(range(0, len(data), TOGETHER), "looking at pictures", leave=False, disable=None):
            batch = data.collate([data[0, i] for i in range(first, min(first + TOGETHER, len(data)))])
            for name in rows:
                rows[name].append(_row(name, batch.to(device), codecs.get(name)))
        grid = codec.encoder.grid(corpus.size)
        empty = torch.zeros(0, codec.quantizer.num_codebooks, *grid, dtype=torch.int32)
        stacked = {name: torch.cat(parts) if parts else empty for name, parts in rows.items()}
        found[split] = CodedPictures(stacked.pop(""), stacked)
    return found


def _row(name: str, batch: Batch, codec: Codec | None) -> Tensor:
    if codec is None:
        return batch.condition[name].cpu()
    seen = batch.signal
    if name:
        seen = view(name, batch.signal, batch.condition, classes=codec.encoder.colours)
    return codec.encode(seen).indices.to("cpu", torch.int32)
