"""Residual quantization: each codebook quantizes what the ones before left (Lee et al. 2022, section 3.1).

The codebooks stand still while the depths are walked, and the gradient crosses once, over the whole
stack. Quantizer dropout (Zeghidour et al. 2021, section 3.3): in training some items use only their
first depths, so that any number of codebooks can be decoded.
"""

import torch
from torch import Tensor, nn

from speechvq.errors import BadSetting
from speechvq.quantize.base import QUANTIZERS, Quantized, Quantizer
from speechvq.quantize.by_depth import begin_published, walk_by_depth
from speechvq.quantize.codebook import Codebook, Learning, Revival
from speechvq.quantize.follow import follow, stats
from speechvq.quantize.gradient import in_backward
from speechvq.quantize.nearest import choose
from speechvq.quantize.rows import Rows, check_depth, check_sizes, look_up, to_rows
from speechvq.quantize.space import Passage, Space
from speechvq.quantize.stack import Chance, Walked, begin, losses_of, walk_stack
from speechvq.quantize.start import Pool, Start

ORDERS = ("pooled", "by-depth")


@QUANTIZERS.register("residual")
class ResidualQuantizer(Quantizer):
    """A stack of ``num_codebooks`` codebooks: ``indices`` (B, num_codebooks, *grid).

    The losses "commitment" and, by gradient, "codebook" are means over the depths (equation 9). Under
    quantizer dropout indices beyond an item's depth are -1, which `decode` takes as nothing.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        num_codebooks: int,
        *,
        shared: bool = False,
        order: str = "pooled",
        space: Space = Space(),  # noqa: B008  (frozen)
        learning: Learning = Learning(),  # noqa: B008
        start: Start = Start(),  # noqa: B008
        revival: Revival = Revival(),  # noqa: B008
        chance: Chance = Chance(),  # noqa: B008
    ) -> None:
        """``shared``: all depths use one codebook, which learns once a call from all of them.

        With the ``order`` "by-depth" codebooks learn at each depth, and codes of an average count below 1
        are begun anew unless the revival's threshold is 0: see `speechvq.quantize.by_depth`, for parity.

        Raises:
            BadSetting: a size is below 1, dropout is to leave more depths than there are, the space is
                "cosine" (what is left has no length one), or the order is unknown or does not fit.
        """
        super().__init__()
        check_sizes(dim=dim, codebook_size=codebook_size, num_codebooks=num_codebooks)
        if space.metric == "cosine" and num_codebooks > 1:
            raise BadSetting(
                "codes of length one cannot quantize what other codes left: use the euclidean metric in a "
                "residual stack"
            )
        if chance.dropout and chance.least > num_codebooks:
            raise BadSetting(
                f"quantizer dropout leaves at least {chance.least} depths, but there are {num_codebooks}: "
                "lower chance.least"
            )
        if order not in ORDERS:
            raise BadSetting(f"codebooks cannot learn {order!r}; choose one of {', '.join(ORDERS)}")
        if order == "by-depth" and start.after:
            raise BadSetting("codes that learn by depth begin at once: leave start.after out")
        if order == "by-depth" and learning.by != "ema":
            raise BadSetting(f"only codes that follow by 'ema' learn by depth, not by {learning.by!r}")
        self.dim, self.codebook_size, self.num_codebooks = dim, codebook_size, num_codebooks
        self.shared, self.order = shared, order
        self.learning, self.start, self.chance = learning, start, chance
        self.passage = Passage(dim, space)
        self.pool = Pool(start, self.passage.dim, codebook_size)
        self.codebooks = nn.ModuleList(
            Codebook(
                self.passage.dim, codebook_size, learning=learning, start=start, revival=revival, space=space
            )
            for _ in range(1 if shared else num_codebooks)
        )
        if order == "by-depth":
            begin_published(self._books)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(z.device.type, enabled=False):
            if self.order == "by-depth" and self.training and not in_backward():
                rows, walked, figures = self._by_depth(z, mask)
            else:
                rows, walked = self.walk(z, mask)
                figures = follow([walked])
            losses = losses_of([walked], self.learning)
            vectors = rows.to_vectors(self.passage.out(walked.vectors))
        return Quantized(vectors, rows.to_indices(walked.indices), losses, figures)

    def walk(self, z: Tensor, mask: Tensor | None) -> tuple[Rows, Walked]:
        """The part of `forward` before the codebooks learn, for stacks that learn together."""
        rows = to_rows(z, mask, self.dim, self._books[0].vectors.dtype)
        y_ND, depth = self.passage.into(rows.x), self.num_codebooks
        if self.training and not in_backward():
            begin(y_ND, rows.valid, self._books, self.pool, self.start, visits=depth)
        return rows, walk_stack(
            y_ND,
            self._books,
            visits=depth,
            depths_N=self._depths(rows),
            temperature=self.chance.temperature,
            training=self.training,
            passes=self.training and self.pool.waits,
        )

    def _by_depth(self, z: Tensor, mask: Tensor | None) -> tuple[Rows, Walked, dict[str, Tensor]]:
        """The walk in training, and its stats, of codebooks that learn on the way."""
        rows = to_rows(z, mask, self.dim, self._books[0].vectors.dtype)
        y_ND, depth = self.passage.into(rows.x), self.num_codebooks
        begin(y_ND, rows.valid, self._books, self.pool, self.start, visits=depth)
        walked, revived = walk_by_depth(
            y_ND, self._books, visits=depth, depths_N=self._depths(rows), temperature=self.chance.temperature
        )
        return rows, walked, stats(walked.counts, [walked.moments], revived)

    @property
    def _books(self) -> list[Codebook]:
        return [codebook for codebook in self.codebooks if isinstance(codebook, Codebook)]

    def _depths(self, rows: Rows) -> Tensor | None:
        """How many depths each row walks (N,); None for all."""
        full_N = rows.depths(self.num_codebooks)
        if not (self.training and self.chance.dropout):
            return full_N
        B, device = rows.shape[0], rows.x.device
        drawn_B = torch.randint(self.chance.least, self.num_codebooks + 1, (B,), device=device)
        kept_B = (-(-drawn_B // self.chance.multiple) * self.chance.multiple).clamp(max=self.num_codebooks)
        drops_B = torch.rand(B, device=device) < self.chance.dropout
        depths_B = torch.where(drops_B, kept_B, self.num_codebooks)
        depths_N = depths_B[:, None].expand(B, rows.shape[2:].numel()).reshape(-1)
        return depths_N if full_N is None else torch.minimum(depths_N, full_N)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z, None, self.dim, self._books[0].vectors.dtype)
            codes = [codebook.codes() for codebook in self._books]
            return rows.to_indices(choose(self.passage.into(rows.x), codes, visits=self.num_codebooks))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`: from the codes of the depths that ``indices`` has.

        Raises:
            BadCodes: ``indices`` has more depths than the stack, or none.
        """
        check_depth(indices, self.num_codebooks)
        with torch.autocast(indices.device.type, enabled=False):
            return look_up([codebook.codes() for codebook in self._books], indices, self.passage.out)
