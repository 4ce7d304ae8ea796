"""Vector quantization: every vector becomes its nearest code (van den Oord et al. 2017).

Order of a step: nearest code, quantize with the codebook as it stands, losses, then the codebook learns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Codebook, Learning, Revival
from speechvq.quantize.follow import Visit, follow, squared_error
from speechvq.quantize.gradient import in_backward, straight_through
from speechvq.quantize.rows import Rows, check_depth, check_sizes, look_up, to_rows
from speechvq.quantize.start import Pool, Start, fit, seeded


@QUANTIZERS.register("vector")
class VectorQuantizer(Quantizer):
    """One codebook: ``indices`` (B, 1, *grid). Losses "commitment" and, by gradient, "codebook"."""

    num_codebooks = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        learning: Learning = Learning(),  # noqa: B008  (frozen)
        start: Start = Start(),  # noqa: B008
        revival: Revival = Revival(),  # noqa: B008
    ) -> None:
        """``codebook_size`` codes of ``dim`` channels.

        Raises:
            BadSetting: ``dim`` or ``codebook_size`` is below 1.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size)
        self.dim, self.codebook_size = dim, codebook_size
        self.learning, self.start = learning, start
        self.pool = Pool(start, dim, codebook_size)
        self.codebook = Codebook(dim, codebook_size, learning=learning, start=start, revival=revival)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self.codebook.vectors.dtype)
            if self.training and not in_backward():
                self._begin(rows)
            indices_N = self.codebook.search(rows.x)
            codes_ND = F.embedding(indices_N, self.codebook.vectors)
            losses = self._losses(rows, codes_ND)
            visit = Visit(self.codebook, rows.x, indices_N)
            stats = follow([visit], codes_ND.detach(), rows, training=self.training)
            vectors = rows.to_vectors(straight_through(rows.x, codes_ND))
        return Quantized(vectors, rows.to_indices(indices_N[None]), losses, stats)

    def _losses(self, rows: Rows, codes_ND: Tensor) -> dict[str, Tensor]:
        scaling = self.learning.scaling
        commitment = squared_error(rows.x - codes_ND.detach(), rows.valid, scaling)
        losses = {"commitment": self.learning.commitment * commitment}
        if self.learning.by == "gradient":
            losses["codebook"] = squared_error(rows.x.detach() - codes_ND, rows.valid, scaling)
        return losses

    def _begin(self, rows: Rows) -> None:
        """Start on the data of the first batches, equal on all workers."""
        self.codebook.align()
        if not self.pool.pending:
            return
        x_ND = self.pool.add(rows.x, rows.valid)
        if len(x_ND):
            codes_KD = fit(self.start, x_ND, self.codebook_size, generator=seeded())
            workers.copy_from_first([codes_KD])
            self.codebook.restart(codes_KD)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        rows = to_rows(z, None, self.dim, self.codebook.vectors.dtype)
        return rows.to_indices(self.codebook.search(rows.x)[None])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        return look_up(self.codebook.vectors, indices[:, 0])
