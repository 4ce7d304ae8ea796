"""Codes as tokens in a row, which is what an autoregressive network reads.

Codes (B, K, *grid) are read in raster order over the grid, and at each place codebook after codebook,
as in "Autoregressive Image Generation using Residual Quantization" (Lee et al. 2022, section 3.2), so
that a row has K times as many tokens as the grid has places. Every codebook has letters of its own: code
c of codebook k is the token ``first + k * codebook_size + c``. One letter more, the last, stands for
"nothing": before the first code, and where a mask says that there is none.

Several kinds of codes (speech, text, pictures) get one vocabulary by `side_by_side`: each keeps its
letters, from another ``first`` on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting


def there(codes: Codes) -> Tensor:
    """(B, K, *grid), True where there is a code: none is below 0 or where the mask is False."""
    found = codes.indices >= 0
    return found if codes.mask is None else found & codes.mask[:, None]


@dataclass(frozen=True)
class Alphabet:
    """The letters of one kind of codes.

    Attributes:
        codebook_size: Q, codes in a codebook.
        num_codebooks: K, depth of the codes.
        first: the first token; those of alphabets before it end there.
    """

    codebook_size: int
    num_codebooks: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if self.codebook_size < 1 or self.num_codebooks < 1:
            raise BadSetting(
                f"a prior over {self.num_codebooks} codebooks of {self.codebook_size} codes cannot be made"
            )
        if self.first < 0:
            raise BadSetting(f"an alphabet cannot begin at the token {self.first}; give 0 or more")

    @property
    def size(self) -> int:
        """Letters: K times Q, and "nothing"."""
        return self.num_codebooks * self.codebook_size + 1

    @property
    def nothing(self) -> int:
        """The token before the first code and at masked places."""
        return self.first + self.size - 1

    def tokens(self, codes: Codes) -> Tensor:
        """Codes (B, K, *grid) as (B, L) tokens, L = K times the places of the grid.

        Raises:
            BadCodes: another depth, or a code beyond the codebook.
        """
        indices = codes.indices
        if indices.dim() < 3 or indices.shape[1] != self.num_codebooks:
            raise BadCodes(f"codes of shape {tuple(indices.shape)} are not (B, {self.num_codebooks}, T)")
        if indices.numel() and int(indices.max()) >= self.codebook_size:
            raise BadCodes(f"code {int(indices.max())} is beyond the prior's {self.codebook_size} codes")
        starts = self.first + self.codebook_size * torch.arange(self.num_codebooks, device=indices.device)
        letters = indices + starts.view(1, -1, *[1] * (indices.dim() - 2))
        return letters.masked_fill(~there(codes), self.nothing).flatten(2).transpose(1, 2).flatten(1)

    def codes(self, tokens: Tensor, grid: Sequence[int] | None = None) -> Codes:
        """What `tokens` came from: (B, L) to codes (B, K, *grid); "nothing" is -1 and masked.

        Args:
            tokens: (B, L), beginning with the first codebook of a place.
            grid: of the codes, K times its places are L; None for one axis.

        Raises:
            BadCodes: tokens of another alphabet or codebook, or not as many as the grid needs.
        """
        grid = (tokens.shape[1] // self.num_codebooks,) if grid is None else tuple(grid)
        if tokens.shape[1] != self.num_codebooks * math.prod(grid):
            raise BadCodes(f"{tokens.shape[1]} tokens are not {self.num_codebooks} codes at each of {grid}")
        columns = tokens.unflatten(1, (-1, self.num_codebooks)).transpose(1, 2)
        absent = columns == self.nothing
        depths = torch.arange(self.num_codebooks, device=tokens.device)[:, None]
        indices = (columns - self.first - self.codebook_size * depths).masked_fill(absent, -1)
        if bool((indices >= self.codebook_size).any() | (indices < -1).any() | (indices[~absent] < 0).any()):
            raise BadCodes("the tokens are not of this alphabet, or do not begin with its first codebook")
        indices = indices.unflatten(2, grid).contiguous()
        return Codes(indices, None if not absent.any() else (indices >= 0).any(1))

    def numbers(self, tokens: Tensor) -> Tensor:
        """Tokens of any shape as codes in [0, Q), whichever their codebook; "nothing" as 0."""
        return ((tokens - self.first) % self.codebook_size).masked_fill(tokens == self.nothing, 0)

    def before(self, tokens: Tensor) -> Tensor:
        """What a network has read when it is asked for each of ``tokens`` (B, L): the one before it."""
        begin = torch.full_like(tokens[:, :1], self.nothing)
        return torch.cat([begin, tokens[:, :-1]], dim=1)


def side_by_side(*alphabets: Alphabet) -> tuple[Alphabet, ...]:
    """The same alphabets without a common token, one after the other from 0 on."""
    moved, first = [], 0
    for alphabet in alphabets:
        moved.append(replace(alphabet, first=first))
        first += alphabet.size
    return tuple(moved)
