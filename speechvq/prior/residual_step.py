"""The prior of `speechvq.prior.residual` one code at a time, without gradients.

The same sums as in `speechvq.prior.residual_net`. Products with few rows read every weight once, so weights
lie as (inputs, outputs). Both transformers keep queries, keys and values of what they have read in buffers
that are made once, and into which the products write: those over places grow place by place, those over
depths begin anew at each place. Of the codes of a place only the sum of their vectors is kept. On a GPU
nothing waits for it; on a CPU the compiled transformer does all of this where it can.

Legend: B items, R rows that are read, B or twice as many when guided; E channels, C of a code's vector;
L places that there is room for, H heads of d channels.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.kernels.transformer_cpu import LANES
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.transformer import Block, Depth, turns_of
from speechvq.nets.transformer_native import NativeStack, usable
from speechvq.prior.residual_net import ResidualNet, Telling
from speechvq.prior.sampling import Steering, guide, steer


class Written(Protocol):
    """What of a `speechvq.prior.residual.ResidualPrior` writing needs."""

    num_codebooks: int
    codebook_size: int
    net: ResidualNet
    vectors: Tensor
    last: nn.LayerNorm
    leave: nn.Linear

    def look_up(self, codes: Tensor) -> Tensor:
        """The vectors (..., K, C) of codes (..., K)."""
        ...

    def classifiers(self) -> list[tuple[Tensor, Tensor]]:
        """The last layer of each depth: weight (Q, E) and bias (Q,)."""
        ...


def write(
    prior: Written,
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
    uniforms = Uniforms(sampling[0].seed, count).draw(places * depth).to(given_BPK.device).unbind(1)
    said = given_BPK.new_zeros(places * depth, count)
    said[: begun * depth] = given_BPK.flatten(1).T
    codes, guided, rules = (
        said.unbind(0),
        steering.guidance != 1,
        replace(steering, guidance=1.0) != Steering(),
    )
    with torch.inference_mode():  # a call costs less; what is handed out was made outside of it
        steps = Steps(prior, told, grid)
        for number in range(begun * depth, places * depth):
            book = number % depth
            if book == 0:
                steps.place(given_BPK.repeat(1 + guided, 1, 1) if number == begun * depth else None)
            logits = steps.logits(book)
            if guided:
                logits = guide(*logits.chunk(2), steering.guidance)
            if rules:
                logits = steer(logits.float(), said[book:number:depth].T, steering)
            code = codes[number].copy_(sample(logits.float(), sampling[book], uniforms[number]))
            steps.take(code.repeat(2) if guided else code, book)
    return said.T.unflatten(1, (places, depth)).transpose(1, 2).unflatten(2, grid)


class Steps:
    """A prior in the midst of R rows: a snapshot of its weights, and what it has read."""

    def __init__(self, prior: Written, told: Telling, grid: tuple[int, ...]) -> None:
        """At the beginning of R rows with a grid of ``grid`` places."""
        net, depth = prior.net, prior.num_codebooks
        self.prior, self.told, self.grid = prior, told, grid
        length = told.begin.shape[1] + math.prod(grid)
        native, outputs = usable(net.over_places, told.begin), prior.codebook_size
        stack = NativeStack if native else _Stack
        self.over_places = stack(net.places, net.over_places, length, told.begin)
        self.native = None
        if native and outputs % LANES == 0:
            end = {"last": prior.last, "leave": prior.leave, "outputs": outputs}
            self.native = NativeStack(net.depths, net.over_depths, depth, told.begin, **end)
        self.over_depths = self.native or _Stack(net.depths, net.over_depths, depth, told.begin)
        self.books = [*prior.vectors.detach()] * (depth if len(prior.vectors) == 1 else 1)
        self.leave = [] if self.native else [_laid(weight, bias) for weight, bias in prior.classifiers()]
        self.last = _norm(prior.last)
        self.at_place, self.at_depth = net.positions(grid), [*net.at_depth.detach()]
        self.enter = self.descend = None
        if net.enter is not None and net.descend is not None:
            self.enter, bias = _laid(net.enter.weight, depth * net.enter.bias)
            self.at_place = bias.expand(length, -1) if self.at_place is None else self.at_place + bias
            self.descend, bias = _laid(net.descend.weight, net.descend.bias)
            self.at_depth[1:] = [at + bias for at in self.at_depth[1:]]
        self.sum = told.begin.new_zeros(len(told.begin), self.books[0].shape[1])
        self.at = self.sum  # what the transformer over depths reads next, (R, E)

    def place(self, given: Tensor | None = None) -> None:
        """Go on to the next place; the first time after ``given`` (R, P, K) codes, which may be none."""
        if given is not None:
            e_RPKC = self.prior.look_up(given)
            read = torch.cat([self.told.begin, self.prior.net.inputs(e_RPKC, self.grid, self.told)], 1)
            alone = read.shape[1] == 1
            known = self.over_places.step(read[:, 0], 0) if alone else self.over_places.begin(read)
        else:
            known = self.over_places.step(self._read(), self.over_places.place)
        self.at = known + self.at_depth[0]

    def _read(self) -> Tensor:
        """What the transformer over places reads of the place that was just written, (R, E)."""
        x, told = self.sum, self.told
        if self.at_place is not None:
            at = self.at_place[self.over_places.place - told.begin.shape[1]]
            x = x + at if self.enter is None else torch.addmm(at, x, self.enter)
        return x if told.everywhere is None else x + told.everywhere

    def logits(self, book: int) -> Tensor:
        """Of the next code of the place, that of codebook ``book``, (R, Q)."""
        if self.native is not None:
            return self.native.logits(self.at, book)
        x = self.over_depths.step(self.at, book)
        weight, bias = self.leave[book]
        return torch.addmm(bias, F.layer_norm(x, *self.last), weight)

    def take(self, code: Tensor, book: int) -> None:
        """The next code (R,) is this."""
        e = self.books[book].index_select(0, code)
        self.sum = self.sum + e if book else e
        if book + 1 < len(self.books):
            at = self.at_depth[book + 1]
            self.at = self.sum + at if self.descend is None else torch.addmm(at, self.sum, self.descend)


class _Stack:
    """Blocks in the midst of R rows of up to L places."""

    def __init__(self, blocks: nn.ModuleList, depth: Depth, length: int, like: Tensor) -> None:
        """Nothing is read yet; ``like`` (R, ...) has the device and the type."""
        self.blocks, self.reach, self.place = blocks, depth.reach, 0
        self.turns = turns_of(depth, length, like.device)
        self.laid = [_Laid(block, length, like) for block in blocks if isinstance(block, Block)]

    def begin(self, x: Tensor) -> Tensor:
        """Read the first n places (R, n, E); what comes of the last, (R, E)."""
        self.place = x.shape[1]
        turn = None if self.turns is None else self.turns[: self.place]
        for block, laid in zip(self.blocks, self.laid, strict=True):
            kept = x.new_empty(len(x), 2, laid.heads, self.place, x.shape[2] // laid.heads)
            x = block(x, turn, kept)
            laid.keys[:, :, : self.place], laid.values[:, :, : self.place] = kept.unbind(1)
        return x[:, -1]

    def step(self, x: Tensor, place: int) -> Tensor:
        """Read ``place`` (R, E), after those before it; what comes of it, (R, E)."""
        self.place, first = place + 1, max(0, place + 1 - self.reach)
        turn = None if self.turns is None else self.turns[place]
        for laid in self.laid:
            x = laid.step(x, turn, first, place)
        return x


class _Laid:
    """One block, and what it keeps."""

    def __init__(self, block: Block, length: int, like: Tensor) -> None:
        self.before, self.between, self.heads = _norm(block.before), _norm(block.between), block.heads
        layers = (block.look, block.bring, block.widen, block.narrow)
        self.look, self.bring, self.widen, self.narrow = (_laid(one.weight, one.bias) for one in layers)
        rows, inner = len(like), block.bring.in_features
        kept = like.new_zeros(rows, length, 3 * inner)
        kept_RL3Hd = kept.view(rows, length, 3, self.heads, -1)
        _, self.keys, self.values = kept_RL3Hd.permute(2, 0, 3, 1, 4)
        self.looks = kept.unbind(1)
        self.turned = kept_RL3Hd[:, :, :2].unbind(1)
        self.queries = kept_RL3Hd[:, :, 0, :, None].unbind(1)
        self.inner = (rows, inner)

    def step(self, x: Tensor, turn: Tensor | None, first: int, place: int) -> Tensor:
        """(R, E) to (R, E); ``turn`` is (d / 2) complex, ``first`` the first place that is seen."""
        weight, bias = self.look
        torch.addmm(bias, F.layer_norm(x, *self.before), weight, out=self.looks[place])
        if turn is not None:
            looks = self.turned[place]
            pairs = torch.view_as_complex(looks.float().unflatten(3, (-1, 2)))
            looks.copy_(torch.view_as_real(pairs * turn).flatten(3))
        count = place + 1 - first
        k, v = self.keys.narrow(2, first, count), self.values.narrow(2, first, count)
        seen = v if count == 1 else F.scaled_dot_product_attention(self.queries[place], k, v)
        weight, bias = self.bring
        x = torch.addmm(x, seen.reshape(self.inner), weight).add_(bias)
        weight, bias = self.widen
        wide = F.gelu(torch.addmm(bias, F.layer_norm(x, *self.between), weight))
        weight, bias = self.narrow
        return torch.addmm(x, wide, weight).add_(bias)


def _laid(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's weight (inputs, outputs), one row after the other in memory, and its bias."""
    return weight.detach().T.contiguous(), bias.detach()


def _norm(norm: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    """What `torch.nn.functional.layer_norm` takes after its input."""
    return norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
