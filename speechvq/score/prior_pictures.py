"""What a prior's codes cost on pictures it was not trained on, beside knowing nothing and counting.

Bits per code are as of `speechvq.score.prior`: what is told is known to both ends. Bits per dimension are of
codes and picture together (`speechvq.image.bits`), so of codecs that say how likely a picture is; they are
upper bounds of -log2 p(picture) for each of its values, and pay for the classes that the prior is told.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table
from tqdm import tqdm

from speechvq.codec import Codec, Codes
from speechvq.errors import BadSetting
from speechvq.image.bits import Likely, bits_per_dim
from speechvq.image.coded import CodedPictures, open_codes
from speechvq.image.data import PictureCorpus, PictureData
from speechvq.prior import Prior
from speechvq.prior.given import class_nats, given_of
from speechvq.prior.tokens import Alphabet
from speechvq.score.prior import counted_bits
from speechvq.score.tables import columns

TOGETHER = 16  # pictures that are paid for at a time


@dataclass(frozen=True)
class PicturePriorScores:
    """What held-out pictures cost.

    Attributes:
        pictures: held-out ones.
        codes: of each picture, all codebooks together.
        trained_codes: that unigram to trigram were counted on, row after row.
        bits: bits per code, of "uniform", "unigram", "bigram", "trigram" and "prior".
        bits_per_dim: with each of them, of codes and picture together; empty if the codec has no likelihood.
        told: what the prior is told.
        class_bits: of each picture, that classes of these take in the prior's bits per dimension.
        given: of what is told, what is not paid for there: those bits are of the picture given that.
    """

    pictures: int
    codes: int
    trained_codes: int
    bits: dict[str, float]
    bits_per_dim: dict[str, float]
    told: tuple[str, ...]
    class_bits: float
    given: tuple[str, ...]

    def table(self) -> Table:
        """For a terminal."""
        title = f"{self.pictures:,} held-out pictures of {self.codes:,} codes"
        headings = ("", "bits per code", "nats per code", "perplexity", "bits/dim")
        rows = []
        for name, bits in self.bits.items():
            shown = f"{name}, given {', '.join(self.given)}" if name == "prior" and self.given else name
            row = [shown, f"{bits:.3f}", f"{bits * math.log(2):.3f}", f"{2**bits:.1f}"]
            rows.append([*row, f"{self.bits_per_dim[name]:.3f}"] if self.bits_per_dim else row)
        return columns(title, headings[: len(rows[0])], rows)

    def plain(self) -> dict[str, Any]:
        """For JSON, with the nats per code, which a run's log has as prior/nll."""
        return asdict(self) | {"nats": {name: bits * math.log(2) for name, bits in self.bits.items()}}


def score_picture_prior(
    prior: Prior,
    codec: Codec,
    corpus: PictureCorpus,
    *,
    split: str = "test",
    codecs: Mapping[str, Codec] | None = None,
) -> PicturePriorScores:
    """Count on the pictures of split train, and let the prior and the counts pay for another split.

    Args:
        prior: on the device where it is to work.
        codec: whose codes it models, on the same.
        corpus: the pictures, with what the prior is told.
        split: held out, "test" or "valid".
        codecs: by its name, of each map that the prior is told.

    Raises:
        BadCodes: the prior, or what it is told, is of the codes of another codec.
        BadSetting: there are no such pictures, they are not such as the codec sees, or they come without
            what the prior is told.
    """
    prior.check(codec.fingerprint)
    told = _told(prior, corpus, codecs or {})
    device = next(codec.parameters()).device
    if (sees := getattr(codec.encoder, "colours", None)) != corpus.channels:
        raise BadSetting(f"the codec sees {sees or 'no'} channels, and the pictures have {corpus.channels}")
    data = corpus.split(split, hop=codec.encoder.hop, still=True)
    if not len(data):
        there = ", ".join(name for name, count in corpus.source.counts.items() if count)
        raise BadSetting(f"{corpus.settings.root} has no pictures of the split {split}; it has {there}")
    train = open_codes(corpus, codec, ("train",), told={}, device=str(device))["train"]
    held = open_codes(corpus, codec, (split,), told=told, device=str(device))[split]
    alphabet, codes = Alphabet(prior.codebook_size, prior.num_codebooks), held.codes[0].numel()
    bits = counted_bits(alphabet, _rows(train, alphabet), _rows(held, alphabet))
    bits["prior"] = _nats(prior.eval(), held, device) / (len(held) * codes * math.log(2))
    class_bits, per_dim = class_nats(prior) / math.log(2), {}
    if isinstance(codec.decoder, Likely):
        uniform, values = _uniform(codec, data, device), corpus.channels * math.prod(corpus.size)
        saved = {name: codes * (bits["uniform"] - one) for name, one in bits.items()}
        saved["prior"] -= class_bits
        per_dim = {name: uniform - one / values for name, one in saved.items()}
    known = given_of(prior)
    return PicturePriorScores(
        pictures=len(held),
        codes=codes,
        trained_codes=train.codes.numel(),
        bits=bits,
        bits_per_dim=per_dim,
        told=tuple(one.name for one in known),
        class_bits=class_bits,
        given=tuple(one.name for one in known if one.kind in ("map", "tokens")),
    )


def _told(prior: Prior, corpus: PictureCorpus, codecs: Mapping[str, Codec]) -> dict[str, Codec | None]:
    """What the prior is told, by name, with the codec of each map; coordinates it makes by itself."""
    if prior.speakers:
        raise BadSetting("this prior is told who speaks, and pictures have no voice; give another prior")
    known = {one.name: one for one in given_of(prior) if one.kind != "coordinates"}
    for name in codecs:
        if name not in known or known[name].kind != "map":
            raise BadSetting(f"this prior is told no codes of {name}; leave --told-codec {name}= out")
    for name, one in known.items():
        if one.kind == "map":
            if name not in codecs:
                raise BadSetting(f"whose codes of {name}? give --told-codec {name}=FOLDER")
            one.check(codecs[name].fingerprint)
        elif name not in corpus.conditions:
            there = ", ".join(corpus.conditions) or "nothing else"
            raise BadSetting(f"this prior is told {name}, and these pictures come with {there}")
        elif one.names and tuple(one.names) != tuple(corpus.names.get(name, ())):
            known_to_it = ", ".join(one.names[:8]) + (" ..." if len(one.names) > 8 else "")
            raise BadSetting(f"this prior knows the {name}s {known_to_it}, and these pictures have others")
    return {name: codecs.get(name) for name in known}


def _rows(coded: CodedPictures, alphabet: Alphabet) -> list[np.ndarray]:
    return list(alphabet.tokens(Codes(coded.codes.long())).numpy())


@torch.no_grad()
def _nats(prior: Prior, held: CodedPictures, device: torch.device) -> float:
    """What all of them cost the prior together."""
    spent = 0.0
    for first in tqdm(range(0, len(held), TOGETHER), "prior", leave=False, disable=None):
        batch = held.collate([held[0, i] for i in range(first, min(first + TOGETHER, len(held)))]).to(device)
        spent += float(prior.nats(Codes(batch.signal), batch.condition).double().sum())
    return spent


def _uniform(codec: Codec, data: PictureData, device: torch.device) -> float:
    """Mean bits per dimension if all codes are as likely."""
    total = 0.0
    for first in tqdm(range(0, len(data), TOGETHER), "pictures", leave=False, disable=None):
        batch = data.collate([data[0, i] for i in range(first, min(first + TOGETHER, len(data)))])
        total += float(bits_per_dim(codec, batch.signal.to(device)).double().sum())
    return total / len(data)
