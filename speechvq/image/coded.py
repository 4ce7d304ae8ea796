"""Pictures as the codes of a finished codec, seen once and whole: what a prior learns from.

Beside them lies what the prior is told: labels, and the codes that other codecs make of other views. Codes
of a folder that `speechvq prepare` made are kept there, in files that are named by a digest of the pictures
and of the codec, so that others are looked at anew.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.image.data import MAPS, PictureCorpus, PictureData
from speechvq.image.views import VIEWS, view
from speechvq.store.arrays import INDEX
from speechvq.store.atomic import atomic

log = logging.getLogger(__name__)
TOGETHER = 32  # pictures that are encoded at a time
AS_IT_IS = ("label", "action", "text", "keypoints")  # told without a codec

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
        stacked = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        stacked = {name: x if x.is_floating_point() else x.long() for name, x in stacked.items()}
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
            pictures come with as it is ("label", "keypoints").
        voices: not used; pictures have none.
        device: where to encode.

    Raises:
        BadSetting: the pictures come without what is to be told, or have other channels than a codec sees.
        UnknownName: there is no view of a name in ``told``.
    """
    _check(corpus, codec, told)
    codecs = {"": codec} | {name: other for name, other in told.items() if other is not None}
    for one in codecs.values():
        one.to(device)
    found = {}
    for split in splits:
        data = corpus.split(split, hop=codec.encoder.hop, still=True)
        rows = {name: _rows(corpus, data, name, split, codecs.get(name), device) for name in ("", *told)}
        found[split] = CodedPictures(rows.pop(""), rows)
    return found


def grid_of(corpus: PictureCorpus, codec: Codec) -> tuple[int, int]:
    """Rows and columns of the codes of every picture."""
    rows, columns = codec.encoder.grid(corpus.size)
    return rows, columns


def _check(corpus: PictureCorpus, codec: Codec, told: Mapping[str, Codec | None]) -> None:
    """That the pictures, and the views of them that are told, are such as the codecs see."""
    if told and corpus.settings.view != "picture":
        raise BadSetting("what a prior is told comes beside pictures; leave data.view out")
    _seen("data.root", codec, corpus.settings.view, corpus)
    for name, other in told.items():
        given = name in corpus.conditions
        if other is not None and name not in AS_IT_IS:
            if name not in VIEWS:
                raise UnknownName("view of pictures", name, list(VIEWS))
            if name in MAPS and not given:
                raise BadSetting(f"these pictures have no {name}; they have {_there(corpus)}")
            _seen(f"model.told.{name}", other, name, corpus)
        elif other is not None:
            raise BadSetting(f"{name} needs no codec; give model.told.{name}=null")
        elif name in VIEWS:
            raise BadSetting(f"whose codes of {name}? give model.told.{name}=FOLDER, its finished codec")
        elif not given:
            raise BadSetting(f"these pictures have no {name}; they have {_there(corpus)}")


def _seen(setting: str, codec: Codec, name: str, corpus: PictureCorpus) -> None:
    """That a codec sees as many channels as the view has; of a segmentation it may know more classes."""
    sees, has = getattr(codec.encoder, "colours", None), corpus.colours_of(name)
    if sees is None:
        raise BadSetting(f"the codec for {setting} sees another codec's codes, and no pictures")
    if has != sees and not (name == "segmentation" and has < sees):
        more = "; data.channels changes that of pictures" if name in ("picture", "low") else ""
        raise BadSetting(f"{setting}: the {name} has {has} channels, and its codec sees {sees}{more}")


def _there(corpus: PictureCorpus) -> str:
    return ", ".join(corpus.conditions) or "nothing else"


def _rows(
    corpus: PictureCorpus, data: PictureData, name: str, split: str, codec: Codec | None, device: str
) -> Tensor:
    """Codes (N, K, h, w) of the view ``name`` of all pictures of a split, or what they come with by it."""
    path = None if codec is None else _kept_at(corpus, name, split, codec)
    if path is not None and path.is_file():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    parts = []
    bar = tqdm(range(0, len(data), TOGETHER), f"looking at {name or 'picture'}s", leave=False, disable=None)
    for first in bar:
        batch = data.collate([data[0, i] for i in range(first, min(first + TOGETHER, len(data)))])
        parts.append(_row(name, batch.to(device), codec))
    rows = torch.cat(parts) if parts else torch.zeros(0, 1, 1, 1, dtype=torch.int32)
    if path is not None:
        try:
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, rows.numpy())
        except OSError as error:
            log.warning("the codes cannot be kept beside the pictures, for another time: %s", error)
    return rows


def _kept_at(corpus: PictureCorpus, name: str, split: str, codec: Codec) -> Path | None:
    """Where these codes are kept: beside the pictures that `speechvq prepare` made, nowhere else."""
    index = Path(corpus.settings.root) / INDEX
    if not index.is_file():
        return None
    seen = name or corpus.settings.view
    told = f"{seen} {split} {codec.fingerprint} {corpus.frame} {corpus.channels}".encode()
    digest = hashlib.sha256(index.read_bytes() + told).hexdigest()[:12]
    return index.with_name(f"codes-{split}-{digest}.npy")


def _row(name: str, batch: Batch, codec: Codec | None) -> Tensor:
    if codec is None:
        return batch.condition[name].cpu()
    seen = batch.signal
    if name:
        seen = view(name, batch.signal, batch.condition, classes=getattr(codec.encoder, "colours", 0))
    return codec.encode(seen).indices.to("cpu", torch.int32)
