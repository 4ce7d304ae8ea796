"""Blocks of `speechvq.nets.transformer` one place at a time by the compiled library, where that can be used.

See `speechvq.kernels.transformer_cpu`: on a CPU it reads the weights as fast as the memory gives them.

Legend: R rows, L places, E channels.
"""

import torch
from torch import Tensor, nn

from speechvq.kernels.transformer_cpu import BLOCK, EPSILON, NativeTransformer, Weights, available, fits
from speechvq.nets.transformer import Block, Cache, Depth

FEW = 4
"""Threads up to which one that reads well is faster than all of torch's together."""


def usable(depth: Depth, like: Tensor) -> bool:
    """Whether the library takes blocks of ``depth``, of the device and type of ``like``."""
    if like.device.type != "cpu" or like.dtype != torch.float32 or torch.get_num_threads() > FEW:
        return False
    inner = depth.inner or depth.width
    return fits(depth.width, inner, depth.heads, 4 * depth.width) and available()


class NativeStack:
    """Blocks in the midst of R rows of up to L places: a snapshot of their weights, and what they keep."""

    def __init__(
        self,
        blocks: nn.ModuleList,
        depth: Depth,
        length: int,
        like: Tensor,
        *,
        last: nn.LayerNorm | None = None,
        leave: nn.Linear | None = None,
        outputs: int = 0,
    ) -> None:
        """Nothing is read yet.

        Args:
            blocks: first to last.
            depth: of them; `usable` says whether it is taken.
            length: L.
            like: (R, ...), of the device and type of all.
            last: the norm after them, if `logits` are wanted.
            leave: last layers of ``outputs`` each, one after the other.
            outputs: a multiple of 16.
        """
        own = [block for block in blocks if isinstance(block, Block)]
        end = None
        if last is not None and leave is not None:
            layers = {"weight": leave.weight.unflatten(0, (-1, outputs))}
            layers |= {"bias": leave.bias.unflatten(0, (-1, outputs))}
            end = dict(zip(("norm", "norm_bias"), _norm(last), strict=True)) | layers
        self.net = NativeTransformer([weights_of(block) for block in own], heads=depth.heads, leave=end)
        self.leaves = 0 if end is None else len(end["bias"])
        self.blocks, self.reach, self.place = own, depth.reach, 0
        cache = Cache(depth, len(like), length, like)
        self.kept, self.turns = cache.kept[: len(own)], cache.turns

    def begin(self, x: Tensor) -> Tensor:
        """Read the first n places (R, n, E); what comes of the last, (R, E)."""
        self.place = x.shape[1]
        turn = None if self.turns is None else self.turns[: self.place]
        for block, kept in zip(self.blocks, self.kept, strict=True):
            x = block(x, turn, kept)
        return x[:, -1]

    def step(self, x: Tensor, place: int) -> Tensor:
        """Read ``place`` (R, E), after those before it; what comes of it, (R, E)."""
        return self._step(x, place, -1)

    def logits(self, x: Tensor, place: int) -> Tensor:
        """The same through the norm and the last layer of this place, or the only one; (R, outputs)."""
        return self._step(x, place, place % self.leaves)

    def _step(self, x: Tensor, place: int, leave: int) -> Tensor:
        self.place, first = place + 1, max(0, place + 1 - self.reach)
        turn = None if self.turns is None else self.turns[place]
        return self.net.step(x, self.kept, place=place, first=first, turn=turn, leave=leave)


def weights_of(block: Block) -> Weights:
    """What the library calls by the names of `BLOCK`."""
    layers = (block.look, block.bring, block.widen, block.narrow)
    look, bring, widen, narrow = ((layer.weight, layer.bias) for layer in layers)
    parts = (*_norm(block.before), *look, *bring, *_norm(block.between), *widen, *narrow)
    return dict(zip(BLOCK, parts, strict=True))


def _norm(norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    if norm.eps != EPSILON:
        raise ValueError(f"the compiled transformer has norms with {EPSILON}, not {norm.eps}")
    return norm.weight, norm.bias
