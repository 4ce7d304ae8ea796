"""WaveNet decoding in PyTorch, two ways: as it is usually written, and with as few operations as possible.

Both take the weights and the noise of `speechvq.kernels.wavenet_plain` and make its samples.
"""

from collections import deque

import torch
from torch import Tensor
from torch.nn import functional as F

from speechvq.kernels.wavenet_plain import Network


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One level per row by inverting the cumulative distribution, in float32."""
    edges = logits.softmax(-1).cumsum(-1)
    return torch.searchsorted(edges, uniforms[:, None].contiguous()).clamp(max=logits.shape[-1] - 1)[:, 0]


class Usual:
    """Layer by layer with a queue of past inputs each, 1x1 convolutions as linear layers."""

    def __init__(self, net: Network) -> None:
        """Weights as `torch.nn.functional.linear` takes them."""
        self.net, R, G = net, net.enter.shape[1], net.residual.shape[1]
        self.now = [w[R:].T.contiguous() for w in net.dilated]
        self.past = [w[:R].T.contiguous() for w in net.dilated]
        self.residual = [w.T.contiguous() for w in net.residual]
        self.skip = [w.T.contiguous() for w in net.skip.split(G)]
        self.skip_bias = net.skip_bias / len(net.dilations)
        self.post, self.last = net.post.T.contiguous(), net.last.T.contiguous()

    @torch.no_grad()
    def speak(self, before: Tensor, conditions: Tensor, uniforms: Tensor) -> Tensor:
        """(N, T) levels."""
        net, hop = self.net, uniforms.shape[1] // conditions.shape[3]
        nothing = torch.zeros(len(before), net.enter.shape[1])
        queues = [deque([nothing] * d, maxlen=d) for d in net.dilations]
        made = []
        for t in range(uniforms.shape[1]):
            h, skip, column = F.embedding(before, net.enter), 0, conditions[..., t // hop]
            for layer, queue in enumerate(queues):
                gates = F.linear(h, self.now[layer]) + F.linear(queue[0], self.past[layer]) + column[:, layer]
                queue.append(h)
                filtered, gate = gates.chunk(2, dim=1)
                u = torch.tanh(filtered) * torch.sigmoid(gate)
                skip = skip + F.linear(u, self.skip[layer], self.skip_bias)
                h = h + F.linear(u, self.residual[layer], net.residual_bias[layer])
            x = F.linear(F.relu(skip), self.post, net.post_bias)
            before = draw(F.linear(F.relu(x), self.last, net.last_bias), uniforms[:, t, 0])
            made.append(before)
        return torch.stack(made, 1)


class Restructured:
    """All past taps of a sample in one gather and one batched product, all skips in one product."""

    def __init__(self, net: Network, *, compiled: bool = False) -> None:
        """``compiled``: the step by torch.compile."""
        self.net, R = net, net.enter.shape[1]
        self.past, self.now = net.dilated[:, :R].contiguous(), list(net.dilated[:, R:].contiguous())
        self.residual, self.bias = list(net.residual), list(net.residual_bias)
        lengths = torch.tensor(net.dilations)
        self.lengths, self.begins = lengths, lengths.cumsum(0) - lengths
        self.step = torch.compile(self._step, dynamic=False) if compiled else self._step

    def _step(self, h: Tensor, past: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and what goes into the rings, from past taps (L, N, R) and conditions (L, N, 2 G)."""
        net, updates, entered = self.net, [], []
        gates = torch.baddbmm(column, past, self.past)
        for layer, now in enumerate(self.now):
            entered.append(h)
            filtered, gate = torch.addmm(gates[layer], h, now).chunk(2, dim=1)
            updates.append(torch.tanh(filtered) * torch.sigmoid(gate))
            h = torch.addmm(h, updates[-1], self.residual[layer]) + self.bias[layer]
        skip = torch.addmm(net.skip_bias, torch.cat(updates, 1), net.skip).relu()
        post = torch.addmm(net.post_bias, skip, net.post).relu()
        return torch.addmm(net.last_bias, post, net.last), torch.stack(entered)

    @torch.no_grad()
    def speak(self, before: Tensor, conditions: Tensor, uniforms: Tensor) -> Tensor:
        """(N, T) levels."""
        hop = uniforms.shape[1] // conditions.shape[3]
        columns = conditions.permute(3, 1, 0, 2).contiguous()
        rings = torch.zeros(self.net.places, len(before), self.net.enter.shape[1])
        made = []
        for t in range(uniforms.shape[1]):
            slots = self.begins + t % self.lengths
            h = F.embedding(before, self.net.enter)
            logits, entered = self.step(h, rings.index_select(0, slots), columns[t // hop])
            rings.index_copy_(0, slots, entered)
            before = draw(logits, uniforms[:, t, 0])
            made.append(before)
        return torch.stack(made, 1)
