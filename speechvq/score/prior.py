"""What a prior's codes cost on recordings it was not trained on, beside knowing nothing and counting.

Of pictures, see `speechvq.score.prior_pictures`.

Bits per code are those of sending one code when the prior, and all codes before it, are known to both
ends; bits per second are as many of them as there are codes in a second (with every codebook).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from speechvq.codec import Codec, Codes
from speechvq.errors import BadCodes, BadSetting
from speechvq.prior import Prior
from speechvq.prior.tokens import Alphabet
from speechvq.score.ngrams import Ngrams, highest_order
from speechvq.score.streams import Stream, encode_streams
from speechvq.score.tables import columns
from speechvq.store.codes import SUFFIX, read_codes
from speechvq.store.manifest import Entry

ORDERS = ("unigram", "bigram", "trigram")


@dataclass(frozen=True)
class PriorScores:
    """What held-out codes cost.

    Attributes:
        recordings: held-out ones.
        codes: of them, all codebooks together.
        trained_codes: that unigram to trigram were counted on.
        codes_per_second: frames per second times codebooks.
        bits: bits per code, of "uniform", "unigram", "bigram", "trigram" and "prior".
        speakers: the prior's bits per code for each speaker.
    """

    recordings: int
    codes: int
    trained_codes: int
    codes_per_second: float
    bits: dict[str, float]
    speakers: dict[str, float]

    def table(self) -> Table:
        """For a terminal."""
        title = f"{self.codes:,} held-out codes of {self.recordings:,} recordings"
        rows = [
            (name, f"{bits:.3f}", f"{bits * self.codes_per_second:.1f}", f"{2**bits:.1f}")
            for name, bits in self.bits.items()
        ]
        return columns(title, ("", "bits per code", "bit/s", "perplexity"), rows)

    def plain(self) -> dict[str, Any]:
        """For JSON, with the bits per second."""
        rates = {name: bits * self.codes_per_second for name, bits in self.bits.items()}
        return asdict(self) | {"bits_per_second": rates}


def score_prior(
    prior: Prior,
    train: Sequence[Stream],
    held: Sequence[Stream],
    *,
    batch: int = 16,
    device: torch.device | str = "cpu",
) -> PriorScores:
    """Count on ``train``, and let the prior and the counts pay for ``held``.

    Recordings of speakers that the prior does not know are left out.

    Raises:
        BadSetting: nothing is left to count or to pay for.
    """
    alphabet = Alphabet(prior.codebook_size, prior.num_codebooks)
    train, held = (
        [s for s in streams if len(s) and (not prior.speakers or s.speaker in prior.speakers)]
        for streams in (train, held)
    )
    if not train or not held:
        what = "count" if not train else "score"
        raise BadSetting(
            f"there is no recording to {what} of a speaker that the prior knows "
            f"({', '.join(prior.speakers) or 'any'}); give another manifest"
        )
    counted, paid = ([_row(s, alphabet) for s in streams] for streams in (train, held))
    bits = counted_bits(alphabet, counted, paid)
    spent = _bits(prior.to(device).eval(), held, batch)
    lengths, names = np.array([s.codes.size for s in held]), np.array([s.speaker for s in held])
    bits["prior"] = float(spent.sum() / lengths.sum())
    return PriorScores(
        recordings=len(held),
        codes=int(lengths.sum()),
        trained_codes=sum(map(len, counted)),
        codes_per_second=held[0].frame_rate * prior.num_codebooks,
        bits=bits,
        speakers={
            name: float(spent[names == name].sum() / lengths[names == name].sum())
            for name in sorted(set(names.tolist()))
        },
    )


def counted_bits(
    alphabet: Alphabet, train: Sequence[np.ndarray], held: Sequence[np.ndarray]
) -> dict[str, float]:
    """Bits per code of rows of tokens of "uniform" and, counted on others, of `ORDERS`.

    Of alphabets with so many letters that the contexts of an order cannot be numbered, without that.
    """
    order = min(len(ORDERS), highest_order(alphabet))
    found = Ngrams(alphabet, train, order=order).bits(held)
    return {"uniform": math.log2(alphabet.codebook_size), **dict(zip(ORDERS[:order], found, strict=True))}


def code_streams(entries: Sequence[Entry], codec: Codec | None, prior: Prior) -> list[Stream]:
    """The codes of a manifest's recordings, or of the code files (.svq) that it names instead.

    Raises:
        BadCodes: a code file is damaged, or another codec made it than the one the prior was trained on.
        BadSetting: there are recordings, and no codec is given.
    """
    stored = [entry for entry in entries if entry.path.endswith(SUFFIX)]
    sounds = [entry for entry in entries if not entry.path.endswith(SUFFIX)]
    streams = []
    for entry in stored:
        codes = read_codes(entry.path)
        if prior.codec:
            codes.check(prior.codec, source=entry.path)
        if codes.indices.dim() != 3 or codes.indices.shape[1] != prior.num_codebooks:
            raise BadCodes(f"{entry.path} does not hold {prior.num_codebooks} rows of codes of sound")
        name = f"{entry.speaker}/{entry.utterance}"
        indices, seconds = codes.indices[0].T.numpy(), codes.size[0] / codes.rate
        streams.append(Stream(name, entry.speaker, indices, frame_rate=codes.frame_rate, seconds=seconds))
    if sounds:
        if codec is None:
            raise BadSetting("the manifest lists recordings; give the codec to encode them with --codec")
        if codec.room != "speech":
            raise BadSetting(
                f"the manifest lists recordings, and this codec is of room {codec.room}; to score a prior of "
                "pictures, give the folder of the pictures in place of the manifest"
            )
        prior.check(codec.fingerprint)
        streams += encode_streams(codec, sounds, device=next(codec.parameters()).device)
    return streams


def _row(stream: Stream, alphabet: Alphabet) -> np.ndarray:
    return alphabet.tokens(_codes(stream))[0].numpy()


def _codes(stream: Stream) -> Codes:
    return Codes(torch.from_numpy(np.ascontiguousarray(stream.codes.T.astype(np.int64)))[None])


@torch.no_grad()
def _bits(prior: Prior, streams: Sequence[Stream], batch: int) -> np.ndarray:
    """What each recording costs the prior (N,); those of about one length are paid for together."""
    device = next(prior.parameters()).device
    order = sorted(range(len(streams)), key=lambda i: len(streams[i]))
    spent = np.zeros(len(streams))
    for begin in tqdm(range(0, len(order), batch), desc="prior", leave=False, disable=None):
        some = order[begin : begin + batch]
        indices = torch.nn.utils.rnn.pad_sequence(
            [_codes(streams[i]).indices[0].T for i in some], batch_first=True, padding_value=-1
        ).transpose(1, 2)
        codes = Codes(indices.to(device), (indices[:, 0] >= 0).to(device))
        nats = prior.nats(codes, _condition(prior, [streams[i].speaker for i in some], device))
        spent[some] = nats.double().flatten(1).sum(1).cpu().numpy()
    return spent / math.log(2)


def _condition(prior: Prior, names: Sequence[str], device: torch.device) -> dict[str, Tensor] | None:
    if not prior.speakers:
        return None
    return {"speaker": torch.tensor([prior.speakers.index(name) for name in names], device=device)}
