"""Vector quantization: every vector becomes its nearest code (van den Oord et al. 2017).

Order of a step: nearest code, quantize with the codebook as it stands, losses, then the codebook learns.
"""

# ruff: noqa: N806  (shape suffixes)
import torch
from torch import Tensor

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Codebook, Learning, Revival
from speechvq.quantize.follow import Visit, follow, squared_error
from speechvq.quantize.gradient import in_backward, straight_through
from speechvq.quantize.rows import Rows, look_up, to_rows
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
            rows = to_rows(z, mask, self.dim)
            if self.training and not in_backward():
                self._begin(rows)
            indices_N = self.codebook.search(rows.x_ND)
            codes_ND = self.codebook.vectors[indices_N]
            losses = self._losses(rows, codes_ND)
            visit = Visit(self.codebook, rows.x_ND, indices_N)
            stats = follow([visit], codes_ND.detach(), rows, training=self.training)
            vectors = rows.to_vectors(straight_through(rows.x_ND, codes_ND))
        return Quantized(vectors, rows.to_indices([indices_N]), losses, stats)

    def _losses(self, rows: Rows, codes_ND: Tensor) -> dict[str, Tensor]:
        scaling = self.learning.scaling
        commitment = squared_error(rows.x_ND - codes_ND.detach(), rows.valid_N, scaling)
        losses = {"commitment": self.learning.commitment * commitment}
        if self.learning.by == "gradient":
            losses["codebook"] = squared_error(rows.x_ND.detach() - codes_ND, rows.valid_N, scaling)
        return losses

    def _begin(self, rows: Rows) -> None:
        """Start on the data of the first batches, equal on all workers."""
        self.codebook.align()
        if not self.pool.pending:
            return
        x_ND = self.pool.add(rows.x_ND, rows.valid_N)
        if len(x_ND):
            codes_KD = fit(self.start, x_ND, self.codebook_size, generator=seeded())
            workers.copy_from_first([codes_KD])
            self.codebook.restart(codes_KD)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        rows = to_rows(z, None, self.dim)
        return rows.to_indices([self.codebook.search(rows.x_ND)])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        return look_up(self.codebook.vectors, indices[:, 0])


def check_sizes(**sizes: int) -> None:
    """Every size must be a whole number from 1.

    Raises:
        BadSetting: one is not.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise BadSetting(f"the quantizer's {name} is {size}; it must be a whole number from 1")


def check_depth(indices: Tensor, num_codebooks: int) -> None:
    """Indices (B, k, *grid) must come from 1 to ``num_codebooks`` codebooks.

    Raises:
        BadCodes: they do not.
    """
    if indices.ndim < 2 or not 1 <= indices.shape[1] <= num_codebooks:
        raise BadCodes(
            f"the codes are {tuple(indices.shape)}; this quantizer decodes (batch, k, *grid) with k from 1 "
            f"to {num_codebooks}: use the codec that made them"
        )
