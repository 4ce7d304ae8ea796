"""The dilated gated stack of WaveNet (van den Oord et al. 2016, sections 2.1 to 2.5), twice.

`WaveNet` runs over a whole sequence at once; `Incremental` runs the same weights one place at a time
and keeps, per layer, the last ``(kernel - 1) * dilation`` inputs in a ring (Fast WaveNet, Le Paine et
al. 2016). Layer l with dilation d, input h, local condition y and global condition g:

    a = W_f *_d h + V_f y + U_f g + b_f        b = W_g *_d h + V_g y + U_g g + b_g
    u = tanh(a) sigmoid(b);   skip += S u;   h += P u;   output = W_2 relu(W_1 relu(skip))

Everything a gate adds that does not come from h (bias, V y, U g) is one tensor, made for all layers in
one product by `WaveNet.conditions`. Where y is a stream of codes that is upsampled by repetition, that
product is taken at the rate of the codes, ahead of the loop, and reused for every sample of a code.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Stack:
    """Widths and depths of a WaveNet.

    Attributes:
        layers: dilated layers in all.
        stacks: how often the dilations start again from 1; divides ``layers``.
        kernel: taps of a dilated convolution, at least 2.
        residual: channels of h.
        gate: channels of u (the dilated convolution has twice as many).
        skip: channels of the skip sum.
        post: channels between the two last 1x1 convolutions.
        dropout: probability in [0, 1) that a channel of u is dropped in training.
    """

    layers: int = 30
    stacks: int = 3
    kernel: int = 2
    residual: int = 64
    gate: int = 64
    skip: int = 256
    post: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check every field, with a sentence for the first that is wrong."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "dropout" and value < 1:
                raise BadSetting(f"{field.name} of the WaveNet is {value}; give at least 1")
        if self.layers % self.stacks:
            raise BadSetting(
                f"{self.layers} WaveNet layers do not divide into {self.stacks} stacks; "
                "make layers a multiple of stacks"
            )
        if self.kernel < 2:
            raise BadSetting("the WaveNet kernel is 1, which sees no past; give at least 2")
        if not 0 <= self.dropout < 1:
            raise BadSetting(f"dropout of the WaveNet is {self.dropout}; it must be in [0, 1)")

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of each layer: 1, 2, 4 ... within a stack."""
        return tuple(2 ** (i % (self.layers // self.stacks)) for i in range(self.layers))

    @property
    def receptive_field(self) -> int:
        """Inputs that one output sees: 1 + (kernel - 1) * (sum of dilations)."""
        return 1 + (self.kernel - 1) * sum(self.dilations)


class WaveNet(nn.Module):
    """The stack over a whole sequence; output t sees inputs up to and including t."""

    def __init__(self, stack: Stack, outputs: int, *, local: int = 0, voice: int = 0) -> None:
        """Build the layers.

        Args:
            stack: widths and depths; the input has ``stack.residual`` channels.
            outputs: channels of the output.
            local: channels of the condition that varies along the sequence; 0 for none.
            voice: channels of the global condition; 0 for none.
        """
        super().__init__()
        self.stack, self.outputs = stack, outputs
        wide = 2 * stack.gate
        self.dilated = nn.ModuleList(
            nn.Conv1d(stack.residual, wide, stack.kernel, dilation=d, bias=False) for d in stack.dilations
        )
        self.bias = nn.Parameter(torch.zeros(stack.layers * wide))
        self.local = nn.Conv1d(local, stack.layers * wide, 1, bias=False) if local else None
        self.voice = nn.Linear(voice, stack.layers * wide, bias=False) if voice else None
        # P and S in one product. The last layer's P reaches no output; as rows of this weight it still
        # gets a (zero) gradient, which training on several workers insists on.
        self.leave = nn.ModuleList(
            nn.Conv1d(stack.gate, stack.residual + stack.skip, 1) for _ in stack.dilations
        )
        self.dropout = nn.Dropout(stack.dropout)
        self.post = nn.Sequential(
            nn.ReLU(), nn.Conv1d(stack.skip, stack.post, 1), nn.ReLU(), nn.Conv1d(stack.post, outputs, 1)
        )

    def conditions(self, local: Tensor | None = None, voice: Tensor | None = None) -> Tensor:
        """What the gates of all layers add to the dilated convolutions.

        Args:
            local: (B, C, T), at the rate of the condition, not of the samples.
            voice: (B, C), the global condition.

        Returns:
            (B or 1, layers, 2 gate, T or 1).
        """
        total = self.bias[None, :, None]
        if self.local is not None and local is not None:
            total = total + self.local(local)
        if self.voice is not None and voice is not None:
            total = total + self.voice(voice)[:, :, None]
        return total.unflatten(1, (self.stack.layers, -1))

    def forward(self, h: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Outputs of every place at once.

        Args:
            h: (B, residual, L) input; left of it are zeros.
            conditions: from `conditions`, (B or 1, layers, 2 gate, T) with L a multiple of T; every
                column serves L / T consecutive places.

        Returns:
            (B, outputs, L).
        """
        if conditions is None:
            conditions = self.conditions()
        columns = conditions.shape[-1]
        if h.shape[-1] % columns:
            raise ValueError(f"{h.shape[-1]} places cannot share {columns} columns of conditions evenly")
        skip: Tensor | float = 0.0
        for layer, (dilated, leave) in enumerate(zip(self.dilated, self.leave, strict=True)):
            past = (self.stack.kernel - 1) * self.stack.dilations[layer]
            gates = dilated(F.pad(h, (past, 0))).unflatten(2, (columns, -1))
            filtered, gate = (gates + conditions[:, layer, :, :, None]).flatten(2).chunk(2, dim=1)
            update, kept = leave(self.dropout(filtered.tanh() * gate.sigmoid())).split(
                [self.stack.residual, self.stack.skip], dim=1
            )
            h, skip = h + update, skip + kept
        return self.post(skip)


class State:
    """What an `Incremental` network remembers of the past; save ``past`` and ``time`` to resume later.

    Attributes:
        past: (sum over layers of (kernel - 1) * dilation, B, residual), one ring a layer.
        time: places seen so far; it says where each ring begins.
    """

    def __init__(self, past: Tensor, time: int = 0) -> None:
        """Zeros for ``past`` and 0 for ``time`` are the start of a sequence."""
        self.past, self.time = past, time
        self.slots = past.unbind(0)  # views: a list access a step instead of an indexing operation

    def clone(self) -> "State":
        """An independent copy, such as to continue one beginning in two ways."""
        return State(self.past.clone(), self.time)

    def rows(self, count: int) -> "State":
        """The state of the first ``count`` sequences of the batch."""
        return State(self.past[:, :count].clone(), self.time)


class Incremental:
    """The same network, one place at a time, with weights laid out for it; no gradients.

    It is a snapshot: make it anew after the network was trained further.
    """

    def __init__(self, net: WaveNet) -> None:
        """Lay out the weights of ``net``, on its device."""
        self.stack = replace(net.stack, dropout=0.0)
        width = self.stack.residual
        with torch.no_grad():
            # (2 gate, residual, kernel) to (kernel * residual, 2 gate), the oldest tap first.
            self.dilated = [_weight(conv).permute(2, 1, 0).flatten(0, 1).contiguous() for conv in net.dilated]
            leave = [(_weight(conv)[:, :, 0].T, _bias(conv)) for conv in net.leave]
            self.residual = [(w[:, :width].contiguous(), b[:width].clone()) for w, b in leave]
            # One product for the skip sum of all layers.
            self.skip = torch.cat([w[:, width:] for w, _ in leave]).contiguous()
            self.skip_bias = torch.stack([b[width:] for _, b in leave]).sum(0)
            posts = [layer for layer in net.post if isinstance(layer, nn.Conv1d)]
            self.post = [(_weight(conv)[:, :, 0].T.contiguous(), _bias(conv).clone()) for conv in posts]

    def start(self, batch: int) -> State:
        """The state before the first place of ``batch`` sequences."""
        places = self.stack.receptive_field - 1
        return State(self.skip.new_zeros(places, batch, self.stack.residual))

    @torch.no_grad()
    def step(self, h: Tensor, conditions: Tensor, state: State) -> Tensor:
        """Output of the next place; ``state`` moves on.

        Args:
            h: (B, residual) input.
            conditions: (B or 1, layers, 2 gate), one column of `WaveNet.conditions`.
            state: from `start` or from an earlier step.

        Returns:
            (B, outputs).
        """
        gated, begin, time = [], 0, state.time
        for layer, (add, dilation) in enumerate(zip(conditions.unbind(1), self.stack.dilations, strict=True)):
            length = (self.stack.kernel - 1) * dilation
            taps = [state.slots[begin + (time + tap) % length] for tap in range(0, length, dilation)]
            gates = torch.addmm(add, torch.cat([*taps, h], dim=1), self.dilated[layer])
            state.slots[begin + time % length].copy_(h)
            filtered, gate = gates.chunk(2, dim=1)
            u = filtered.tanh_().mul_(gate.sigmoid_())
            weight, bias = self.residual[layer]
            h = torch.addmm(h, u, weight).add_(bias)
            gated.append(u)
            begin += length
        state.time += 1
        out = torch.addmm(self.skip_bias, torch.cat(gated, dim=1), self.skip)
        for weight, bias in self.post:
            out = torch.addmm(bias, out.relu_(), weight)
        return out


def _weight(conv: nn.Module) -> Tensor:
    assert isinstance(conv, nn.Conv1d)
    return conv.weight.detach()


def _bias(conv: nn.Module) -> Tensor:
    assert isinstance(conv, nn.Conv1d)
    assert conv.bias is not None
    return conv.bias.detach()
