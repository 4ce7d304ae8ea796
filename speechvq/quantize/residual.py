"""Residual quantization: each codebook quantizes what the ones before left (Lee et al. 2022, section 3.1).

The codebooks stand still while the depths are walked, and straight-through is applied once over the
whole stack, so that the gradient is the identity whatever the depth.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechvq.quantize import workers
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Codebook, Learning, Revival
from speechvq.quantize.follow import Visit, follow, squared_error
from speechvq.quantize.gradient import in_backward, straight_through
from speechvq.quantize.nearest import nearest
from speechvq.quantize.rows import Rows, check_depth, check_sizes, look_up, to_rows
from speechvq.quantize.start import Pool, Start, fit, seeded


@QUANTIZERS.register("residual")
class ResidualQuantizer(Quantizer):
    """A stack of ``num_codebooks`` codebooks: ``indices`` (B, num_codebooks, *grid).

    The losses "commitment" and, by gradient, "codebook" are means over the depths (equation 9).
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        num_codebooks: int,
        *,
        shared: bool = False,
        learning: Learning = Learning(),  # noqa: B008  (frozen)
        start: Start = Start(),  # noqa: B008
        revival: Revival = Revival(),  # noqa: B008
    ) -> None:
        """``shared``: all depths use one codebook, which learns once a call from all of them.

        Raises:
            BadSetting: ``dim``, ``codebook_size`` or ``num_codebooks`` is below 1.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size, num_codebooks=num_codebooks)
        self.dim, self.codebook_size, self.num_codebooks = dim, codebook_size, num_codebooks
        self.shared, self.learning, self.start = shared, learning, start
        self.pool = Pool(start, dim, codebook_size)
        self.codebooks = nn.ModuleList(
            Codebook(dim, codebook_size, learning=learning, start=start, revival=revival)
            for _ in range(1 if shared else num_codebooks)
        )

    def _codebook(self, depth: int) -> Codebook:
        codebook = self.codebooks[0 if self.shared else depth]
        assert isinstance(codebook, Codebook)
        return codebook

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self._codebook(0).vectors.dtype)
            if self.training and not in_backward():
                self._begin(rows)
            visits, losses, total_ND = self._walk(rows)
            stats = follow(visits, total_ND, rows, training=self.training)
            vectors = rows.to_vectors(straight_through(rows.x, total_ND))
        return Quantized(vectors, rows.to_indices(torch.stack([v.indices for v in visits])), losses, stats)

    def _walk(self, rows: Rows) -> tuple[list[Visit], dict[str, Tensor], Tensor]:
        """All depths: the searches, the losses, and the sum of the codes (N, D)."""
        scaling, by_gradient = self.learning.scaling, self.learning.by == "gradient"
        left_ND, total_ND = rows.x.detach(), torch.zeros_like(rows.x)
        visits, commitments, pulls = [], [], []
        for depth in range(self.num_codebooks):
            codebook = self._codebook(depth)
            indices_N = codebook.search(left_ND)
            codes_ND = F.embedding(indices_N, codebook.vectors)
            visits.append(Visit(codebook, left_ND, indices_N))
            if by_gradient:
                pulls.append(squared_error(left_ND - codes_ND, rows.valid, scaling))
            total_ND = total_ND + codes_ND.detach()
            left_ND = left_ND - codes_ND.detach()
            commitments.append(squared_error(rows.x - total_ND, rows.valid, scaling))
        losses = {"commitment": self.learning.commitment * torch.stack(commitments).mean()}
        if by_gradient:
            losses["codebook"] = torch.stack(pulls).mean()
        return visits, losses, total_ND

    def _begin(self, rows: Rows) -> None:
        """Start on the data of the first batches, each depth on what the depths before leave."""
        for depth in range(len(self.codebooks)):
            self._codebook(depth).align()
        if not self.pool.pending:
            return
        left_ND = self.pool.add(rows.x, rows.valid)
        if not len(left_ND):
            return
        generator, found, seen = seeded(), [], []
        for _ in range(self.num_codebooks):
            seen.append(left_ND)
            found.append(fit(self.start, left_ND, self.codebook_size, generator=generator))
            left_ND = left_ND - found[-1][nearest(left_ND, found[-1])]
        if self.shared:
            # One codebook for all depths has to lie where the vectors of all depths lie.
            found = [fit(self.start, torch.cat(seen), self.codebook_size, generator=generator)]
        workers.copy_from_first(found)
        for depth, codes_KD in enumerate(found):
            self._codebook(depth).restart(codes_KD)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        rows = to_rows(z, None, self.dim, self._codebook(0).vectors.dtype)
        visits, _, _ = self._walk(rows)
        return rows.to_indices(torch.stack([v.indices for v in visits]))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`: the sum of the codes of the depths that ``indices`` has.

        Raises:
            BadCodes: ``indices`` has more depths than the stack, or none.
        """
        check_depth(indices, self.num_codebooks)
        total = look_up(self._codebook(0).vectors, indices[:, 0])
        for depth in range(1, indices.shape[1]):
            total = total + look_up(self._codebook(depth).vectors, indices[:, depth])
        return total
