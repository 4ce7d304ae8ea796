"""Fewer codes for a prior: numbers for the used ones only, or a quantizer that has no others.

A codebook of which few codes are in use (973 of 16384 in the ImageNet VQGAN) makes a prior's alphabet
larger than what it has to say. `Remap` gives the used codes numbers from 0, as the public code of
Esser et al. (2021) does; codes that were not counted must then become something else, which is not
what their vectors were. `keep_used` takes the other codes out of the quantizer, so that every vector
goes to the nearest code that is left.
"""

from typing import Any

import torch
from torch import Tensor, nn

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize.base import QUANTIZERS, Quantizer
from speechvq.quantize.codebook import Codebook
from speechvq.quantize.nearest import nearest

UNKNOWN = ("error", "random", "extra", "nearest")


class Remap(nn.Module):
    """Codes of a codebook to numbers of the used ones, in their order, and back.

    Buffers: ``used`` (U,), the used codes, ascending; ``table`` (size,), the number of each code, -1
    where there is none. One table serves all codebooks of a stack.
    """

    used: Tensor
    table: Tensor

    def __init__(
        self, used: Tensor, size: int, *, unknown: str | int = "error", codes: Tensor | None = None
    ) -> None:
        """``used`` (U,) of ``size`` codes; what others become is ``unknown``.

        "error": they are refused. "random": a used code, drawn anew each time. "extra": one more
        number, U. "nearest": the used code nearest to them, of the vectors ``codes`` (size, D), which
        must be given. A whole number: that of the U.

        Raises:
            BadSetting: no codes, codes outside [0, size), or another ``unknown``.
        """
        super().__init__()
        used = torch.unique(used.detach().long())
        if not len(used) or int(used[0]) < 0 or int(used[-1]) >= size:
            raise BadSetting(f"the used codes must be some of 0 to {size - 1}, at least one")
        fixed = not isinstance(unknown, str)
        if unknown not in (range(len(used)) if fixed else UNKNOWN):
            raise BadSetting(
                f"unknown codes cannot become {unknown!r}; choose one of {', '.join(UNKNOWN)}, or a number "
                f"below {len(used)}"
            )
        if (unknown == "nearest") != (codes is not None) or (codes is not None and len(codes) != size):
            raise BadSetting(f"the vectors of all {size} codes are for unknown='nearest', which needs them")
        self.unknown, self.size = unknown, size
        table = torch.full((size,), -1, dtype=torch.int64, device=used.device)
        if codes is not None:
            table = nearest(codes, codes[used]).to(used.device)
        elif unknown == "extra":
            table.fill_(len(used))
        elif fixed:
            table.fill_(unknown)
        table[used] = torch.arange(len(used), device=used.device)
        self.register_buffer("used", used)
        self.register_buffer("table", table)

    @classmethod
    def from_counts(
        cls, counts: Tensor, least: float = 1, *, unknown: str | int = "error", codes: Tensor | None = None
    ) -> "Remap":
        """Used are codes counted ``least`` times in ``counts`` (size,), or (codebooks, size) together.

        Raises:
            BadSetting: no code was; or see `Remap`.
        """
        total = counts.reshape(-1, counts.shape[-1]).sum(0)
        used = (total >= least).nonzero()[:, 0]
        if not len(used):
            raise BadSetting(f"no code was used {least} times; count more data, or ask for less")
        return cls(used, len(total), unknown=unknown, codes=codes)

    @property
    def codebook_size(self) -> int:
        """How many numbers there are: U, and one more with "extra"."""
        return len(self.used) + (self.unknown == "extra")

    def to_used(self, indices: Tensor) -> Tensor:
        """Codes of any shape to numbers; -1 stays.

        Raises:
            BadCodes: a code outside the codebook, or an unknown one if those are errors.
        """
        _check(indices, self.size, "codes")
        found = self.table[indices.clamp(min=0)]
        lost = (found < 0) & (indices >= 0)
        if self.unknown == "random":
            found = torch.where(lost, torch.randint_like(found, len(self.used)), found)
        elif self.unknown == "error" and bool(lost.any()):
            raise BadCodes(
                f"code {int(indices[lost][0])} is not among the {len(self.used)} used codes: count its data "
                "too, or choose what unknown codes become"
            )
        return torch.where(indices >= 0, found, -1)

    def to_all(self, indices: Tensor) -> Tensor:
        """Numbers of any shape back to codes; -1 stays, and the extra number becomes the first used code.

        Raises:
            BadCodes: there is no such number.
        """
        _check(indices, self.codebook_size, "numbers of used codes")
        known = (indices >= 0) & (indices < len(self.used))
        return torch.where(indices >= 0, self.used[torch.where(known, indices, 0)], -1)


def _check(indices: Tensor, size: int, what: str) -> None:
    if indices.numel():
        low, high = (int(x) for x in indices.aminmax())
        if low < -1 or high >= size:
            raise BadCodes(
                f"{what} {low} to {high} do not fit: they go from 0 to {size - 1}, and -1 for none"
            )


def used_codes(quantizer: Quantizer, counts: Tensor, least: float = 1) -> Tensor:
    """The codes (number of codebooks, U) that `keep_used` keeps, ascending: its code u was code ``[u]``.

    Each codebook keeps as many as the one with most used codes: those counted most, lowest first.

    Raises:
        BadSetting: see `keep_used`.
    """
    V, K = quantizer.num_codebooks, quantizer.codebook_size
    counts = counts[None] if counts.ndim == 1 else counts
    if tuple(counts.shape) != (V, K):
        raise BadSetting(f"the counts are {tuple(counts.shape)}; for this quantizer they must be {(V, K)}")
    # Depths that share a codebook, which stand together, are counted together.
    counts_BK = counts.reshape(len(_codebooks(quantizer)), -1, K).sum(1)
    most = int((counts_BK >= least).sum(1).max())
    if most == 0:
        raise BadSetting(f"no code was used {least} times; count more data, or ask for less")
    return counts_BK.argsort(dim=1, descending=True, stable=True)[:, :most].sort(1).values


def keep_used(quantizer: Quantizer, counts: Tensor, least: float = 1) -> Quantizer:
    """A quantizer like this one, without the codes that were not counted ``least`` times.

    ``counts`` (num_codebooks, codebook_size), or (codebook_size,) of a single codebook, are those of
    `Quantized` or of `speechvq.quantize.health.Health`, over data enough. All codebooks of a stack
    keep one size; `used_codes` says which codes stay. They keep their vectors, averages and use, so
    that learning can go on; an optimiser must be made anew.

    Raises:
        BadSetting: the quantizer has no codebook to take codes from, the counts do not fit, or no code
            would be left.
    """
    books, kept = _codebooks(quantizer), used_codes(quantizer, counts, least)
    # What it would draw is not needed, and must not disturb the draws of others.
    with torch.random.fork_rng(devices=[]):
        spec: dict[str, Any] = vars(quantizer)["spec"]
        smaller = QUANTIZERS.build(spec | {"codebook_size": kept.shape[1]})
    first = next(iter(books.values())).vectors
    smaller.to(device=first.device, dtype=first.dtype)
    state = {name: value.clone() for name, value in quantizer.state_dict().items()}
    for name, kept_U in zip(books, kept.to(first.device), strict=True):
        for part in ("vectors", "counts", "sums", "use"):
            if f"{name}.{part}" in state:
                state[f"{name}.{part}"] = state[f"{name}.{part}"][kept_U]
        # The running use is in units of the fair share, so its mean is one.
        use_U = state[f"{name}.use"]
        state[f"{name}.use"] = use_U / use_U.mean().clamp(min=torch.finfo(use_U.dtype).tiny)
    smaller.load_state_dict(state)
    for new, old in zip(smaller.parameters(), quantizer.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    return smaller.train(quantizer.training)


def _codebooks(quantizer: Quantizer) -> dict[str, Codebook]:
    """The codebooks by name, in the order of the indices."""
    books = {name: one for name, one in quantizer.named_modules() if isinstance(one, Codebook)}
    if not books:
        raise BadSetting(
            f"{type(quantizer).__name__} has no codebook to take codes from; use a vector, residual or "
            "grouped quantizer"
        )
    return books
