"""Vector quantization: every vector becomes its nearest code (van den Oord et al. 2017).

Order of a step: nearest code, quantize with the codebook as it stands, losses, then the codebook learns.
"""

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.codebook import Codebook, Learning, Revival
from speechvq.quantize.diversity import Diversity
from speechvq.quantize.follow import follow
from speechvq.quantize.gradient import in_backward, straight_through
from speechvq.quantize.nearest import nearest
from speechvq.quantize.rows import check_depth, check_sizes, look_up, to_rows
from speechvq.quantize.space import Passage, Space
from speechvq.quantize.stack import Chance, begin, losses_of, walk_stack
from speechvq.quantize.start import Pool, Start


@QUANTIZERS.register("vector")
class VectorQuantizer(Quantizer):
    """One codebook: ``indices`` (B, 1, *grid).

    Losses "commitment" and, by gradient, "codebook"; "entropy" and "orthogonal" where asked for.
    """

    num_codebooks = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        space: Space = Space(),  # noqa: B008  (frozen)
        learning: Learning = Learning(),  # noqa: B008
        start: Start = Start(),  # noqa: B008
        revival: Revival = Revival(),  # noqa: B008
        chance: Chance = Chance(),  # noqa: B008
        diversity: Diversity = Diversity(),  # noqa: B008
    ) -> None:
        """``codebook_size`` codes for vectors of ``dim`` channels.

        Raises:
            BadSetting: ``dim`` or ``codebook_size`` is below 1, or settings exclude each other.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size)
        diversity.check(learning)
        if space.gradient == "vector" and (learning.estimator != "straight-through" or learning.synchronised):
            raise BadSetting(
                "a gradient that arrives at the vector goes straight through, and not to the codes: leave "
                "space.gradient, or learning.estimator and learning.synchronised, out"
            )
        self.dim, self.codebook_size = dim, codebook_size
        self.learning, self.start, self.chance, self.diversity = learning, start, chance, diversity
        self.passage = Passage(dim, space, past=True)
        self.pool = Pool(start, self.passage.dim, codebook_size)
        self.codebook = Codebook(
            self.passage.dim, codebook_size, learning=learning, start=start, revival=revival, space=space
        )

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, mask, self.dim, self.codebook.vectors.dtype)
            x_ND, books = self.passage.project(rows.x), [self.codebook]
            y_ND = self.passage.directed(x_ND)
            if self.training and not in_backward():
                begin(y_ND, rows.valid, books, self.pool, self.start, visits=1)
            walked = walk_stack(
                y_ND,
                books,
                visits=1,
                depths_N=rows.depths(1),
                temperature=self.chance.temperature,
                training=self.training,
                passes=self.training and self.pool.waits,
            )
            losses = losses_of([walked], self.learning)
            losses |= self.diversity.losses(
                y_ND, self.codebook.codes(), rows.valid, training=self.training and not in_backward()
            )
            figures = follow([walked])
            codes_ND = walked.vectors
            if self.passage.past:
                codes_ND = straight_through(x_ND, codes_ND)
            vectors = rows.to_vectors(self.passage.out(codes_ND))
        return Quantized(vectors, rows.to_indices(walked.indices), losses, figures)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, None, self.dim, self.codebook.vectors.dtype)
            return rows.to_indices(nearest(self.passage.into(rows.x), self.codebook.codes())[None])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`.

        Raises:
            BadCodes: ``indices`` has not one codebook.
        """
        check_depth(indices, 1)
        with torch.autocast(indices.device.type, enabled=False):
            return look_up([self.codebook.codes()], indices, self.passage.out)
