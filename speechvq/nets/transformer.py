"""A causal transformer: layer norms before each part, exact GELU, and a key-value cache.

"Attention Is All You Need" (Vaswani et al. 2017) with the norms moved as in "Language Models are
Unsupervised Multitask Learners" (Radford et al. 2019). In each block

    h = x + W_o attention(LN x);   x' = h + W_2 gelu(W_1 LN h)

and a last norm follows the last block. Positions are told either by turning queries and keys ("RoFormer",
Su et al. 2021: pair i of a head's channels turns by place / 10000^(2i / d)), so that only distances
matter and a sequence may be of any length, or by a learned vector added to the input at each place; or
the input comes with them. The first places may see one another in both directions, as what is known
before the rest is asked for ("Unified Language Model Pre-training", Dong et al. 2019).

With a `Cache` the same weights go on from where they were: every block keeps keys and values of all
places in a buffer of its own, made once in full length. One large buffer for all blocks would be copied
whole whenever a compiled step changes a part of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.errors import BadSetting

POSITIONS = ("rotary", "learned", "given")


@dataclass(frozen=True)
class Depth:
    """Widths and depths of a transformer.

    Attributes:
        layers: blocks.
        width: channels D.
        heads: of the attention; its channels are a multiple of twice as many.
        reach: places that attention sees, itself included; with learned positions also the longest
            sequence.
        positions: "rotary", "learned", or "given" with the input.
        dropout: probability in [0, 1) that a channel of what a block adds is dropped in training.
        inner: channels of the attention, all heads together; 0 for as many as ``width``.
        inner_dropout: the same for the attention's weights and the channels between a block's two layers.
    """

    layers: int = 6
    width: int = 256
    heads: int = 4
    reach: int = 1024
    positions: str = "rotary"
    dropout: float = 0.0
    inner: int = 0
    inner_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every field, with a sentence for the first that is wrong."""
        for name in ("layers", "width", "heads", "reach"):
            if getattr(self, name) < 1:
                raise BadSetting(f"{name} of the transformer is {getattr(self, name)}; give at least 1")
        if self.inner < 0 or (self.inner or self.width) % (2 * self.heads):
            raise BadSetting(
                f"{self.inner or self.width} channels do not divide into {self.heads} heads of an even number"
            )
        if self.positions not in POSITIONS:
            raise BadSetting(f"there are no {self.positions!r} positions; known: {', '.join(POSITIONS)}")
        for name in ("dropout", "inner_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise BadSetting(f"{name} of the transformer is {getattr(self, name)}; it must be in [0, 1)")

    @property
    def channels(self) -> int:
        """Of one head."""
        return (self.inner or self.width) // self.heads


class Cache:
    """Keys and values of the places seen so far.

    Attributes:
        kept: one buffer a block, (B, 2, heads, length, channels of a head), keys first.
        turns: what `Transformer` turns keys by at each of the ``length`` places; None if it does not.
        place: places seen.
    """

    def __init__(self, depth: Depth, batch: int, length: int, like: Tensor) -> None:
        """Room for ``length`` places of ``batch`` sequences, of the device and type of ``like``."""
        shape = (batch, 2, depth.heads, length, depth.channels)
        self.kept = tuple(like.new_zeros(shape) for _ in range(depth.layers))
        self.turns = turns_of(depth, length, like.device)
        self.place = 0


class Block(nn.Module):
    """Attention to the past and a layer of its own for every place."""

    def __init__(self, depth: Depth) -> None:
        super().__init__()
        width, inner = depth.width, depth.heads * depth.channels
        self.heads, self.reach = depth.heads, depth.reach
        self.before = nn.LayerNorm(width)
        self.look = nn.Linear(width, 3 * inner)
        self.bring = nn.Linear(inner, width)
        self.between = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout, self.inner_dropout = depth.dropout, depth.inner_dropout

    def forward(
        self, x: Tensor, turn: Tensor | None, kept: Tensor | None = None, place: int = 0, unmasked: int = 0
    ) -> Tensor:
        """(B, n, D) to (B, n, D).

        Args:
            x: the next n places.
            turn: (n, channels of a head / 2) complex, what `_turned` turns by, or None.
            kept: this block's buffer of a `Cache`, which gets their keys and values; None to begin anew.
            place: how many places it holds.
            unmasked: so many of the first places see one another; all are among these, or none.
        """
        batch, count, _ = x.shape
        looks = self.look(self.before(x)).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (looks[:2] if turn is None else _turned(looks[:2], turn)).unbind(0)
        v = looks[2]
        if kept is not None:
            end = place + count
            kept[:, 0, :, place:end] = k
            kept[:, 1, :, place:end] = v
            first = max(0, place + 1 - self.reach)  # that any of them sees
            k, v = kept[:, :, :, first:end].unbind(1)
        inner_dropout = self.inner_dropout if self.training else 0.0
        seen = _attention(q, k, v, self.reach, unmasked, inner_dropout).transpose(1, 2).flatten(2)
        x = x + self._dropped(self.bring(seen), self.dropout)
        wide = self._dropped(F.gelu(self.widen(self.between(x))), self.inner_dropout)
        return x + self._dropped(self.narrow(wide), self.dropout)

    def _dropped(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share) if self.training and share else x


class Transformer(nn.Module):
    """The blocks; output t sees inputs up to and including t, and those of an unmasked beginning."""

    def __init__(self, depth: Depth) -> None:
        """Build the blocks; the input has ``depth.width`` channels, and so has the output."""
        super().__init__()
        self.depth = depth
        learned = depth.positions == "learned"
        self.places = nn.Embedding(depth.reach, depth.width) if learned else None
        self.blocks = nn.ModuleList(Block(depth) for _ in range(depth.layers))
        self.last = nn.LayerNorm(depth.width)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # What is added to the stream is made smaller, so that it does not grow with the depth.
                adds = name.endswith(("bring.weight", "narrow.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * depth.layers) ** 0.5 if adds else 0.02)
            elif "blocks" in name and name.endswith("bias"):
                nn.init.zeros_(weight)

    def start(self, batch: int, length: int) -> Cache:
        """An empty cache for ``batch`` sequences of up to ``length`` places.

        Raises:
            BadSetting: longer than the learned positions.
        """
        self.check(length)
        return Cache(self.depth, batch, length, self.last.weight)

    def forward(
        self, x: Tensor, cache: Cache | None = None, *, unmasked: int = 0, states: list[Tensor] | None = None
    ) -> Tensor:
        """Outputs of the next n places; without a cache these are the first.

        Args:
            x: (B, n, D).
            cache: from `start`; it moves on by n places. Without gradient.
            unmasked: so many of the sequence's first places see one another, whichever comes first.
            states: gets what each block returns, (B, n, D).

        Returns:
            (B, n, D).

        Raises:
            BadSetting: a sequence longer than the learned positions, or an unmasked beginning in pieces.
        """
        begin = 0 if cache is None else cache.place
        end = begin + x.shape[1]
        if begin < unmasked and (begin or end < unmasked):
            raise BadSetting(f"the first {unmasked} places see one another, so they must be read at once")
        unmasked = 0 if begin else unmasked
        if self.places is not None:
            self.check(end)
            x = x + self.places.weight[begin:end]
        turns = turns_of(self.depth, end, x.device) if cache is None else cache.turns
        turn = None if turns is None else turns[begin:end]
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, None if cache is None else cache.kept[layer], begin, unmasked)
            if states is not None:
                states.append(x)
        if cache is not None:
            cache.place = end
        return self.last(x)

    def check(self, length: int) -> None:
        """Raise `BadSetting` if a sequence of ``length`` is longer than the learned positions."""
        if self.places is not None and length > self.depth.reach:
            raise BadSetting(
                f"{length} places are more than the {self.depth.reach} that this transformer learned "
                "positions of; ask for less, or train one with rotary positions or a longer reach"
            )


def _attention(q: Tensor, k: Tensor, v: Tensor, reach: int, unmasked: int, dropout: float) -> Tensor:
    """(B, heads, n, d) of the last n of m keys: each query sees the ``reach`` keys up to its own.

    Where ``unmasked`` is not 0, n is m, and so many of the first see one another. ``dropout`` is the share
    of the weights that is dropped.
    """
    n, m = q.shape[2], k.shape[2]
    if n == 1 and m <= reach:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    if n == m <= reach and unmasked < 2:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
    behind = torch.arange(m - n, m, device=q.device)[:, None] - torch.arange(m, device=q.device)
    seen = (behind >= 0) & (behind < reach)
    if unmasked:
        seen[:unmasked, :unmasked] = True
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)


def turns_of(depth: Depth, length: int, device: torch.device) -> Tensor | None:
    """What queries and keys of a head are turned by: at each place, a complex number of length one a pair.

    (length, channels of a head / 2), complex64, its angles in radians made in float64; None if positions
    are not "rotary".
    """
    if depth.positions != "rotary":
        return None
    channels = depth.channels
    pair = torch.arange(0, channels, 2, device=device, dtype=torch.float64)
    place = torch.arange(length, device=device, dtype=torch.float64)
    angle = place[:, None] * 10_000 ** (-pair / channels)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Channels 2 i and 2 i + 1 of a head (..., n, d), as a complex number, turned by the place's angle."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)
