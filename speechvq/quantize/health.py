"""How well codebooks are used, over an epoch, in numbers and in words.

The figures of one batch depend on its size: a batch of 200 vectors cannot use 512 codes. `Health`
adds up the counts of every batch and takes use, perplexity and entropy of the sums.

    H = -sum p log p        perplexity = e^H        normalised entropy = H / log K
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.base import Quantized

ENOUGH = 5
"""Vectors a code, below which unused codes say nothing; as many, evenly spread, leave 0.7 % unused."""
SOME = 100
"""Vectors that are enough to say that one code takes most of them."""
DOMINANT = 0.5
"""One code dominates when it takes more than this share of the vectors, and twice its fair share."""
FEW = 0.5
"""Few codes are in use up to this share of them."""
MOST = 0.9
"""Some codes are unused below this share."""
EVEN = 0.8
"""Codes are used unevenly below this normalised entropy."""


@dataclass(frozen=True)
class CodebookHealth:
    """One codebook, or one depth that visits a shared one.

    Attributes:
        codebook_size: K.
        vectors: how many vectors it quantized.
        dead: codes that none of them chose.
        usage: share of the codes that were chosen, in [0, 1].
        perplexity: the number of equally used codes that would say as much, in [1, K].
        entropy: the entropy over its largest value, log K, in [0, 1]; 1 for a single code.
        busiest: share of the vectors that chose the most used code.
    """

    codebook_size: int
    vectors: int
    dead: int
    usage: float
    perplexity: float
    entropy: float
    busiest: float

    @property
    def bits(self) -> float:
        """Entropy of a code, in bits."""
        return math.log2(self.perplexity)

    @property
    def verdict(self) -> str:
        """In plain words; the first that holds."""
        if self.vectors == 0:
            return "no vectors seen"
        enough = ENOUGH * self.codebook_size
        if self.busiest > max(DOMINANT, 2 / self.codebook_size) and self.vectors >= min(SOME, enough):
            return "one code dominates"
        if self.dead and self.vectors < enough:
            return "too few vectors to tell"
        if self.usage <= FEW:
            return "few codes in use"
        if self.usage < MOST:
            return "some codes unused"
        return "used unevenly" if self.entropy < EVEN else "healthy"

    def __str__(self) -> str:
        """A line for a log."""
        return (
            f"{self.verdict}; {self.codebook_size - self.dead} of {self.codebook_size} codes used, "
            f"perplexity {self.perplexity:.1f} (entropy {self.entropy:.2f} of its most), most used code "
            f"{100 * self.busiest:.1f} %"
        )


@dataclass(frozen=True)
class HealthFigures:
    """All codebooks of a quantizer over an epoch.

    Attributes:
        codebooks: each one's figures.
        vectors: how many were quantized.
        usage, perplexity, entropy: means over the codebooks.
        dead: codes that were not used, of all codebooks.
        busiest: the largest share that one code has of its codebook's vectors.
        revived: codes that were moved.
        error: squared quantization error over the vectors' variance within a batch, mean over vectors.
    """

    codebooks: tuple[CodebookHealth, ...]
    vectors: int
    usage: float
    perplexity: float
    entropy: float
    dead: int
    busiest: float
    revived: int
    error: float

    @property
    def bits(self) -> float:
        """Bits that one code of every codebook takes together; times the frame rate a bitrate."""
        return sum(book.bits for book in self.codebooks)

    def scalars(self) -> dict[str, float]:
        """The figures over all codebooks by name, for a board."""
        names = ("usage", "perplexity", "entropy", "dead", "busiest", "revived", "error", "bits")
        return {name: float(getattr(self, name)) for name in names}

    def __str__(self) -> str:
        """A few lines for a log: one for all, one a codebook."""
        if not self.codebooks:
            return "no vectors seen"
        codes = sum(book.codebook_size for book in self.codebooks)
        lines = [
            f"{self.vectors} vectors: {self.dead} of {codes} codes unused, {self.revived} revived, "
            f"error {self.error:.3f} of the variance"
        ]
        return "\n".join(lines + [f"codebook {v}: {book}" for v, book in enumerate(self.codebooks)])


class Health:
    """Adds up the stats of a quantizer's batches; make a new one for each epoch.

    In training the stats are of all workers already; where each worker evaluates batches of its own,
    ask for `figures` with ``reduce``. Sums stay on the stats' device, and `add` does not wait for it.

    Attributes:
        counts: (V, K) int64, how often each code was used; None before the first batch.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self._vectors = self._revived = self._error = torch.zeros(())

    @torch.no_grad()
    def add(self, batch: Quantized | Mapping[str, Tensor]) -> None:
        """Add a batch: what the quantizer returned, or its ``stats``.

        Raises:
            BadSetting: its codebooks are not those of the batches before.
        """
        stats = batch.stats if isinstance(batch, Quantized) else batch
        counts = stats["counts"].detach().long()
        if self.counts is None:
            self.counts = torch.zeros_like(counts)
            self._vectors, self._revived = counts.new_zeros(()), counts.new_zeros(())
            self._error = torch.zeros((), device=counts.device)
        if counts.shape != self.counts.shape:
            raise BadSetting(
                f"the counts are {tuple(counts.shape)}, and before they were {tuple(self.counts.shape)}; "
                "follow each quantizer with a Health of its own"
            )
        # Every vector walks the first depth at least; groups are walked by the same vectors.
        vectors = counts[0].sum()
        self.counts += counts
        self._vectors += vectors
        self._revived += stats["revived"].detach().long()
        # A running mean, because a float32 sum loses small parts. A batch without vectors has no error.
        weight = (vectors / self._vectors.clamp(min=1)).float()
        error = torch.where(vectors > 0, stats["error"].detach().float(), self._error)
        self._error += (error - self._error) * weight

    def figures(self, *, reduce: bool = False) -> HealthFigures:
        """The figures so far; with ``reduce``, which every worker must ask for, those of all workers.

        Workers may have seen different numbers of batches, none included.
        """
        return (self.joint() if reduce else self)._own_figures()

    def state_dict(self) -> dict[str, Tensor | None]:
        """For a checkpoint in the middle of an epoch."""
        sums = {"vectors": self._vectors, "revived": self._revived, "error": self._error}
        return {"counts": self.counts, **sums}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str | None = None) -> None:
        """From a checkpoint, onto the device that the stats will be on."""
        self.counts = None if state["counts"] is None else state["counts"].clone().to(device)
        sums = (state[name].clone().to(device) for name in ("vectors", "revived", "error"))
        self._vectors, self._revived, self._error = sums

    @torch.no_grad()
    def joint(self) -> "Health":
        """The sums over all workers, each of which must ask."""
        if workers.size() == 1:
            return self
        own = None if self.counts is None else (tuple(self.counts.shape), self.counts.device.type)
        seen: list[Any] = [None] * workers.size()
        dist.all_gather_object(seen, own)
        known = {one for one in seen if one is not None}
        whole = Health()
        if not known:
            return whole
        if len({shape for shape, _ in known}) > 1:
            raise BadSetting(f"the workers' codebooks differ: {sorted(shape for shape, _ in known)}")
        shape, device = next(iter(known))
        counts = torch.zeros(shape, device=device) if self.counts is None else self.counts
        rest = torch.stack(
            [self._vectors.double(), self._revived.double(), self._error.double() * self._vectors]
        )
        counts, rest = workers.total([counts.double(), rest.to(counts.device)])
        whole.counts, whole._vectors, whole._revived = counts.long(), rest[0].long(), rest[1].long()
        whole._error = rest[2] / rest[0].clamp(min=1)
        return whole

    def _own_figures(self) -> HealthFigures:
        counts = [] if self.counts is None else list(self.counts.cpu())
        books = tuple(_of_one(counts_K) for counts_K in counts)
        over = max(len(books), 1)
        return HealthFigures(
            codebooks=books,
            vectors=int(self._vectors),
            usage=sum(book.usage for book in books) / over,
            perplexity=sum(book.perplexity for book in books) / over,
            entropy=sum(book.entropy for book in books) / over,
            dead=sum(book.dead for book in books),
            busiest=max((book.busiest for book in books), default=0.0),
            revived=int(self._revived),
            error=float(self._error),
        )


def _of_one(counts_K: Tensor) -> CodebookHealth:
    """The figures of one codebook's counts."""
    K, vectors = len(counts_K), int(counts_K.sum())
    share_K = counts_K.double() / max(vectors, 1)
    entropy = float(torch.special.entr(share_K).sum())
    return CodebookHealth(
        codebook_size=K,
        vectors=vectors,
        dead=int((counts_K == 0).sum()),
        usage=float((counts_K > 0).double().mean()),
        perplexity=math.exp(entropy),
        entropy=entropy / math.log(K) if K > 1 else 1.0,
        busiest=float(share_K.max()),
    )
