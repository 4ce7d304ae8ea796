"""The prior of `speechvq.prior.residual` one code at a time, without gradients.

The same sums as in `speechvq.prior.residual_net`, with the weights laid out for products with few rows. Both
transformers keep the keys and values of what they have read in buffers that are made once: those of the
one over places grow place by place, those of the one over depths begin anew at each place. Of the codes
of a place only the sum of their vectors is kept. Nothing waits for a device.

Legend: B items, R rows that are read, B or twice as many when guided; E channels, C of a code's vector.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.transformer import Block, Cache
from speechvq.prior.residual_net import Telling
from speechvq.prior.sampling import Steering, guide, steer

if TYPE_CHECKING:
    from speechvq.prior.residual import ResidualPrior


@torch.no_grad()
def write(
    prior: "ResidualPrior",
    told: Telling,
    grid: tuple[int, ...],
    sampling: Sequence[Sampling],
    *,
    steering: Steering,
    given_BPK: Tensor,
) -> Tensor:
    """New codes (B, K, *grid), drawn place after place, and depth after depth in each.

    The number that decides a code depends on the seed, the sequence and the code's place only; so what was
    drawn before is drawn again when the first part of it is given.

    Args:
        prior: in evaluation mode.
        told: before the codes, of R rows.
        grid: of the whole.
        sampling: how to draw at each depth.
        steering: what the past and the condition do to the logits first.
        given_BPK: codes of the first places.
    """
    (count, begun, depth), places = given_BPK.shape, math.prod(grid)
    uniforms = Uniforms(sampling[0].seed, count).draw(depth * places).to(given_BPK.device)
    said = given_BPK.new_zeros(count, places, depth)
    said[:, :begun] = given_BPK
    guided = steering.guidance != 1
    steps = Steps(prior, told, grid)
    for place in range(begun, places):
        steps.place(given_BPK.repeat(1 + guided, 1, 1) if place == begun else None)
        for book in range(depth):
            logits = steps.logits(book)
            if guided:
                logits = guide(*logits.chunk(2), steering.guidance)
            logits = steer(logits.float(), said[:, :place, book], steering)
            code = sample(logits, sampling[book], uniforms[:, place * depth + book])
            said[:, place, book] = code
            steps.take(code.repeat(2) if guided else code, book)
    return said.transpose(1, 2).unflatten(2, grid)


class Steps:
    """A prior in the midst of R rows: a snapshot of its weights, and what it has read."""

    def __init__(self, prior: "ResidualPrior", told: Telling, grid: tuple[int, ...]) -> None:
        """At the beginning of rows with a grid of ``grid`` places."""
        net = prior.net
        self.prior, self.told, self.grid = prior, told, grid
        rows, begin, width = told.begin.shape
        self.cache = Cache(net.over_places, rows, begin + math.prod(grid), told.begin)
        self.above = Cache(net.over_depths, rows, prior.num_codebooks, told.begin)
        self.over_places = [_Laid(block) for block in net.places if isinstance(block, Block)]
        self.over_depths = [_Laid(block) for block in net.depths if isinstance(block, Block)]
        self.books = [*prior.vectors.detach()] * (prior.num_codebooks if len(prior.vectors) == 1 else 1)
        self.leave = [_laid(weight, bias) for weight, bias in prior.classifiers()]
        self.last = _norm(prior.last)
        at_depth = net.at_depth.detach()
        if net.enter is not None and net.descend is not None:
            self.enter = _laid(net.enter.weight, prior.num_codebooks * net.enter.bias)
            self.descend = _laid(net.descend.weight, net.descend.bias)
            self.at_depth = [at_depth[0], *(at_depth[1:] + net.descend.bias)]
        else:
            self.enter = self.descend = None
            self.at_depth = [*at_depth]
        self.positions = net.positions(grid)
        self.sum = told.begin.new_zeros(rows, self.books[0].shape[1])
        self.at = torch.empty(0)  # what the transformer over depths reads next, (R, E)

    def place(self, given: Tensor | None = None) -> None:
        """Go on to the next place; the first time after ``given`` (R, P, K) codes, which may be none."""
        net, cache = self.prior.net, self.cache
        if given is not None:
            e_RPKC = self.prior.look_up(given)
            x = torch.cat([self.told.begin, net.inputs(e_RPKC, self.grid, self.told)], 1)
            turn = None if cache.turns is None else cache.turns[: x.shape[1]]
            for block, kept in zip(net.places, cache.kept, strict=True):
                x = block(x, turn, kept)
            cache.place, h = x.shape[1], x[:, -1]
        else:
            h = self._next()
        self.at = h + self.at_depth[0]
        self.sum.zero_()

    def _next(self) -> Tensor:
        """What comes of the place that was just written, (R, E)."""
        cache, x = self.cache, self.sum
        if self.enter is not None:
            x = torch.addmm(self.enter[1], x, self.enter[0])
        if self.told.everywhere is not None:
            x = x + self.told.everywhere
        if self.positions is not None:
            x = x + self.positions[cache.place - self.told.begin.shape[1]]
        turn = None
        if cache.turns is not None:
            turn = cache.turns[cache.place]
            turn = torch.stack([turn, turn, torch.ones_like(turn)])[:, None]
        first = max(0, cache.place + 1 - self.prior.net.over_places.reach)
        for block, kept in zip(self.over_places, cache.kept, strict=True):
            x = block.step(x, turn, kept, first, cache.place)
        cache.place += 1
        return x

    def logits(self, book: int) -> Tensor:
        """Of the next code of the place, that of codebook ``book``, (R, Q)."""
        x = self.at
        for block, kept in zip(self.over_depths, self.above.kept, strict=False):
            x = block.step(x, None, kept, 0, book)
        weight, bias = self.leave[book]
        return torch.addmm(bias, F.layer_norm(x, *self.last), weight)

    def take(self, code: Tensor, book: int) -> None:
        """The next code (R,) is this."""
        self.sum += self.books[book][code]
        if book + 1 < len(self.books):
            at = self.at_depth[book + 1]
            self.at = self.sum + at if self.descend is None else torch.addmm(at, self.sum, self.descend[0])


class _Laid:
    """One block."""

    def __init__(self, block: Block) -> None:
        self.heads, self.before, self.between = block.heads, _norm(block.before), _norm(block.between)
        layers = (block.look, block.bring, block.widen, block.narrow)
        self.look, self.bring, self.widen, self.narrow = (_laid(one.weight, one.bias) for one in layers)

    def step(self, x: Tensor, turn: Tensor | None, kept: Tensor, first: int, place: int) -> Tensor:
        """(R, E) to (R, E); ``turn`` is (3, 1, E / heads / 2), ``first`` the first place that is seen."""
        count = x.shape[0]
        looks = torch.addmm(self.look[1], F.layer_norm(x, *self.before), self.look[0])
        looks = looks.view(count, 3, self.heads, -1)
        if turn is not None:
            pairs = torch.view_as_complex(looks.float().unflatten(3, (-1, 2)))
            looks = torch.view_as_real(pairs * turn).flatten(3).to(kept.dtype)
        kept[:, :, :, place] = looks[:, 1:]
        k, v = kept[:, :, :, first : place + 1].unbind(1)
        seen = F.scaled_dot_product_attention(looks[:, 0, :, None], k, v)
        x = torch.addmm(x, seen.reshape(x.shape), self.bring[0]).add_(self.bring[1])
        wide = F.gelu(torch.addmm(self.widen[1], F.layer_norm(x, *self.between), self.widen[0]))
        return torch.addmm(x, wide, self.narrow[0]).add_(self.narrow[1])


def _laid(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's weight (inputs, outputs), one row after the other in memory, and its bias."""
    return weight.detach().T.contiguous(), bias.detach()


def _norm(norm: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    """What `torch.nn.functional.layer_norm` takes after its input."""
    return norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
