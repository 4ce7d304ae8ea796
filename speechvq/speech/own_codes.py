"""A decoder's own vectors for the codes of an encoder that has learned all it will.

The vocoder of VQ-CPC (van Niekerk et al. 2020) is trained when the codebook stands; it looks the codes up
in a table of its own instead. It is handed the codebook's vectors here, and knows each code by them.
"""

import torch
from torch import Tensor, nn

from speechvq.quantize.nearest import nearest


class OwnCodes(nn.Module):
    """A vector of the decoder's own for each code, which is known by the codebook's vector."""

    codebook: Tensor

    def __init__(self, count: int, dim: int) -> None:
        """``codebook`` (count, dim) is a copy of the quantizer's, ``table`` holds the own vectors."""
        super().__init__()
        self.register_buffer("codebook", torch.zeros(count, dim))
        self.table = nn.Embedding(count, dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, D, T) to (B, D, T); no gradient reaches ``vectors``."""
        rows = vectors.transpose(1, 2)
        indices = nearest(rows.flatten(0, 1).float().contiguous(), self.codebook)
        return self.table(indices.view(rows.shape[:2])).transpose(1, 2)
