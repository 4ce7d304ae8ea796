"""The transformer one place at a time, with the weights laid out for it and without gradients.

The same sums as in `speechvq.nets.transformer`. A product with one row reads every weight once, so what
counts is the order in which it is read: as (inputs, outputs) that is as fast as memory gives it. Beside
that every call costs, so there are few. Keys and values are turned and kept in one go, the values by an
angle of nothing; a bias is added to the stream before the product is, in place; and with a = x / sqrt 2

    gelu(x) = x (1 + erf a) / 2 = (a + a erf a) / sqrt 2,

where both factors stand in the weights. Where `speechvq.nets.transformer_native` can be used, all of it is
one call of the compiled library.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.kernels.transformer_cpu import NativeTransformer
from speechvq.nets.transformer import Block, Cache, Transformer
from speechvq.nets.transformer_native import usable, weights_of


class Steps:
    """A snapshot of a network: make it anew after the network was trained further."""

    def __init__(self, net: Transformer) -> None:
        """Lay out the weights of ``net``, on its device."""
        self.net, self.reach, self.width = net, net.depth.reach, net.depth.width
        blocks, self.native = [block for block in net.blocks if isinstance(block, Block)], None
        if usable(net.depth, net.last.weight):
            self.native = NativeTransformer([weights_of(block) for block in blocks], heads=net.depth.heads)
        with torch.no_grad():
            self.blocks = [] if self.native else [_Laid(block) for block in blocks]
            self.last = _norm(net.last)

    @torch.no_grad()
    def step(self, x: Tensor, cache: Cache) -> Tensor:
        """The output of the next place; the cache moves on.

        Args:
            x: (R, D) input.
            cache: from `Transformer.start`, with room for one place more.

        Returns:
            (R, D).

        Raises:
            BadSetting: beyond the learned positions.
        """
        place, turn = cache.place, None
        if self.net.places is not None:
            self.net.check(place + 1)
            x = x + self.net.places.weight[place]
        if cache.turns is not None:
            turn = cache.turns[place]
        first, cache.place = max(0, place + 1 - self.reach), place + 1
        if self.native is not None:
            x = self.native.step(x, cache.kept, place=place, first=first, turn=turn)
            return torch.layer_norm(x, *self.last)
        if turn is not None:
            turn = torch.stack([turn, turn, torch.ones_like(turn)])[:, None]
        for block, kept in zip(self.blocks, cache.kept, strict=True):
            x = block.step(x, turn, kept, first, place)
        return torch.layer_norm(x, *self.last)


class _Laid:
    """One block."""

    def __init__(self, block: Block) -> None:
        self.heads, self.before, self.between = block.heads, _norm(block.before), _norm(block.between)
        self.look, self.bring = _laid(block.look), _laid(block.bring)
        self.widen = tuple(math.sqrt(0.5) * part for part in _laid(block.widen))
        weight, bias = _laid(block.narrow)
        self.narrow = math.sqrt(0.5) * weight, bias

    def step(self, x: Tensor, turn: Tensor | None, kept: Tensor, first: int, place: int) -> Tensor:
        """(R, D) to (R, D); ``turn`` is (3, 1, D / heads / 2), ``first`` the first place that is seen."""
        count = x.shape[0]
        weight, bias = self.look
        looks = torch.addmm(bias, torch.layer_norm(x, *self.before), weight)
        if turn is None:
            looks = looks.view(count, 3, self.heads, -1)
        else:
            pairs = torch.view_as_complex(looks.float().view(count, 3, self.heads, -1, 2))
            looks = torch.view_as_real(pairs * turn).flatten(3).to(kept.dtype)
        kept.select(3, place).copy_(looks[:, 1:])
        k, v = kept.narrow(3, first, place + 1 - first).unbind(1)
        seen = F.scaled_dot_product_attention(looks[:, 0, :, None].to(kept.dtype), k, v)
        weight, bias = self.bring
        x = (x + bias).addmm_(seen.reshape(count, -1), weight)
        weight, bias = self.widen
        wide = torch.addmm(bias, torch.layer_norm(x, *self.between), weight)
        wide = torch.addcmul(wide, wide, torch.erf(wide))
        weight, bias = self.narrow
        return (x + bias).addmm_(wide, weight)


def _laid(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """A layer's weight (inputs, outputs), one row after the other in memory, and its bias."""
    return layer.weight.detach().T.contiguous(), layer.bias.detach()


def _norm(norm: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    """What `torch.layer_norm` takes after its input."""
    return norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
