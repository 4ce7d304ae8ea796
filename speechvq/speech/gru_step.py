"""One sample of the GRU decoder at a time, with the weights laid out for it.

A GRU (Cho et al. 2014, in the form of cuDNN) with input x and state h, gates r, z and proposal n:

    r = s(W_r x + b_r + U_r h + c_r)      z = s(W_z x + b_z + U_z h + c_z)
    n = tanh(W_n x + b_n + r (U_n h + c_n))      h <- (1 - z) n + z h

Here x is the last sample's embedding beside a condition that stays for many samples. So W x is a row of
a table with as many rows as there are levels, made once, and a sum that is made once a column.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Cell:
    """Embedding, GRU and the two linear layers; a snapshot, without gradients."""

    def __init__(self, embedding: nn.Embedding, gru: nn.GRU, first: nn.Linear, last: nn.Linear) -> None:
        """Lay out the weights, on their device; the GRU's input is [embedding | condition]."""
        with torch.no_grad():
            weight, bias, turn, turn_bias = (
                getattr(gru, f"{name}_l0").detach().float()
                for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
            )
            width = embedding.embedding_dim
            self.table = torch.addmm(bias, embedding.weight.detach().float(), weight[:, :width].T)
            self.enter = weight[:, width:].T.contiguous()
            self.turn, self.turn_bias = turn.T.contiguous(), turn_bias.clone()
            layers = [(layer.weight, layer.bias) for layer in (first, last)]
            self.post = [(w.detach().float().T.contiguous(), b.detach().float().clone()) for w, b in layers]

    def start(self, batch: int) -> Tensor:
        """The state (batch, memory) before the first sample."""
        return self.turn.new_zeros(batch, len(self.turn))

    def conditions(self, heard: Tensor) -> Iterator[Tensor]:
        """What each column of (B, C, columns) adds to the gates, (B, 3 memory)."""
        return iter((heard.float().transpose(1, 2) @ self.enter).unbind(1))

    @torch.no_grad()
    def step(self, levels: Tensor, condition: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, levels) of the next sample and the next state.

        Args:
            levels: (B,) int64, the samples before.
            condition: (B, 3 memory), one of `conditions`.
            state: (B, memory).
        """
        wide = 2 * state.shape[1]
        entering = self.table[levels] + condition
        turning = torch.addmm(self.turn_bias, state, self.turn)
        reset, keep = (entering[:, :wide] + turning[:, :wide]).sigmoid_().chunk(2, dim=1)
        proposal = torch.addcmul(entering[:, wide:], reset, turning[:, wide:]).tanh_()
        state = torch.lerp(proposal, state, keep)
        x = state
        for place, (weight, bias) in enumerate(self.post):
            x = torch.addmm(bias, x.relu() if place else x, weight)
        return x, state
