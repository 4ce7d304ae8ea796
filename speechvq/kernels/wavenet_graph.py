"""WaveNet decoding in plain torch operations that a CUDA graph can hold: for what no kernel takes.

Any width, any dilations, categories or mixtures of logistics. Nothing of a step depends on Python: the
time, the place in the conditions and the noise are numbers on the device. So one step, or STEPS of them,
can be captured once and replayed for every sample, which spares the launch of some 100 small operations
each. The same step runs without a graph on any device, where it is tested.

All reads of the past are known before a step: they are gathered, and multiplied, at once.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels.wavenet_plain import Draw, Network, Past, Spoken, _drawn, _entering

STEPS = 8
"""Samples of one captured graph."""


@dataclass(frozen=True)
class Board:
    """Everything a step reads and writes, at fixed places on the device.

    Attributes:
        rings: (places, N, R).
        before: (N,) int64, the last level.
        time: () int64, samples made so far, which says where each ring begins.
        now: () int64, which of the T samples is next.
        conditions: (F, L, N, 2 G).
        hop: () int64, samples a column of conditions serves.
        uniforms: (T, N, U).
        forced: (T, N) int64, levels that count as said; -1 for what was drawn.
        steps: (T, N) int64, gets what was drawn.
        logits: (T, N, Q), gets what the network said; None if nobody asked.
    """

    rings: Tensor
    before: Tensor
    time: Tensor
    now: Tensor
    conditions: Tensor
    hop: Tensor
    uniforms: Tensor
    forced: Tensor
    steps: Tensor
    logits: Tensor | None


class GraphWaveNet:
    """A network laid out for the graph: a snapshot, on one device."""

    def __init__(self, net: Network, *, device: torch.device | str = "cuda", capture: bool = True) -> None:
        """Lay out the weights.

        Args:
            net: any; it keeps its dtype.
            device: where it speaks.
            capture: hold steps in a CUDA graph; otherwise they run one operation at a time.

        Raises:
            BadSetting: a graph was asked for elsewhere than on a CUDA device.
        """
        self.device, self.capture = torch.device(device), capture
        if capture and self.device.type != "cuda":
            raise BadSetting(f"there are no CUDA graphs on {self.device}; take capture=False")
        moved = {name: tensor.to(self.device).contiguous() for name, tensor in net.tensors.items()}
        self.net = net = replace(net, **moved)
        L, R = len(net.dilations), net.enter.shape[1]  # noqa: N806
        past = (net.taps - 1) * R
        self._past = net.dilated[:, :past].contiguous()  # (L, (taps - 1) R, 2 G)
        self._here = net.dilated[:, past:].contiguous()  # (L, R, 2 G)
        lengths = torch.tensor([(net.taps - 1) * d for d in net.dilations], device=self.device)
        dilations = torch.tensor(net.dilations, device=self.device)
        self._lengths, self._begins = lengths, lengths.cumsum(0) - lengths
        # (L, taps - 1): how far into its ring each tap lies, the oldest first.
        self._offsets = dilations[:, None] * torch.arange(net.taps - 1, device=self.device)
        self._layers = L

    def step(self, board: Board, draw: Draw) -> None:
        """One sample for all utterances; every number on the board moves on."""
        net = self.net
        places = self._begins[:, None] + (board.time + self._offsets) % self._lengths[:, None]
        taps = board.rings[places.flatten()].unflatten(0, places.shape)  # (L, taps - 1, N, R)
        past = taps.transpose(1, 2).flatten(2)
        now = board.now[None]
        gates = board.conditions.index_select(0, now // board.hop)[0] + past @ self._past
        h, inputs, updates = _entering(net, board.before), [], []
        for layer in range(self._layers):
            inputs.append(h)
            filtered, gate = torch.addmm(gates[layer], h, self._here[layer]).chunk(2, 1)
            updates.append(filtered.tanh() * gate.sigmoid())
            h = h + torch.addmm(net.residual_bias[layer], updates[-1], net.residual[layer])
        board.rings.index_copy_(0, self._begins + board.time % self._lengths, torch.stack(inputs))
        skip = torch.addmm(net.skip_bias, torch.cat(updates, 1), net.skip)
        post = torch.addmm(net.post_bias, skip.relu_(), net.post)
        outputs = torch.addmm(net.last_bias, post.relu_(), net.last)
        levels = _drawn(net, outputs, draw, board.uniforms.index_select(0, now)[0])
        board.steps.index_copy_(0, now, levels[None])
        if board.logits is not None:
            board.logits.index_copy_(0, now, outputs[None])
        forced = board.forced.index_select(0, now)[0]
        board.before.copy_(torch.where(forced < 0, levels, forced))
        board.time.add_(1)
        board.now.add_(1)

    @torch.no_grad()
    def decode(
        self,
        past: Past,
        conditions_NLGF: Tensor,
        uniforms_NTU: Tensor,
        draw: Draw = Draw(),  # noqa: B008 (frozen)
        *,
        forced_NT: Tensor | None = None,
        logits: bool = False,
    ) -> Spoken:
        """What `speechvq.kernels.wavenet_plain.decode` does; the logits only if asked for.

        Raises:
            ValueError: the samples do not share the conditions evenly.
        """
        (_, T, _), F = uniforms_NTU.shape, conditions_NLGF.shape[3]  # noqa: N806
        if T % max(1, F) or (T and not F):
            raise ValueError(f"{T} samples cannot share {F} columns of conditions evenly")
        board = self._board(past, conditions_NLGF, uniforms_NTU, forced_NT, logits)
        self._run(board, draw, T)
        past.time += T
        past.before = board.before.to(past.before.device)
        past.rings[:, :, : board.rings.shape[2]] = board.rings.transpose(0, 1).to(past.rings)
        said = conditions_NLGF.new_zeros(0) if board.logits is None else board.logits.transpose(0, 1)
        return Spoken(board.steps.T.contiguous(), said)

    def _board(
        self, past: Past, conditions: Tensor, uniforms: Tensor, forced: Tensor | None, logits: bool
    ) -> Board:
        (N, T, _), own = uniforms.shape, self.net.enter  # noqa: N806
        count = {"dtype": torch.int64, "device": self.device}
        hop = T // max(1, conditions.shape[3])
        if forced is None:
            forced = torch.full((N, T), -1)
        return Board(
            rings=past.rings[:, :, : own.shape[1]].transpose(0, 1).to(own).contiguous(),
            before=past.before.to(**count).clone(),
            time=torch.tensor(past.time, **count),
            now=torch.tensor(0, **count),
            conditions=conditions.permute(3, 1, 0, 2).to(own).contiguous(),
            hop=torch.tensor(max(1, hop), **count),
            uniforms=uniforms.transpose(0, 1).to(self.device).contiguous(),
            forced=forced.T.to(**count).contiguous(),
            steps=torch.empty(T, N, **count),
            logits=own.new_empty(T, N, self.net.last.shape[1]) if logits else None,
        )

    def _run(self, board: Board, draw: Draw, samples: int) -> None:
        """``samples`` steps: whole graphs of STEPS, and the rest one operation at a time."""
        whole = samples // STEPS if self.capture else 0
        if whole > 1:
            graph = self._captured(board, draw)
            for _ in range(whole):
                graph.replay()
        for _ in range(samples - whole * STEPS if whole > 1 else samples):
            self.step(board, draw)

    def _captured(self, board: Board, draw: Draw) -> torch.cuda.CUDAGraph:
        """STEPS steps on this board; the board is left as it was."""
        moving = (board.rings, board.before, board.time, board.now)
        kept = [tensor.clone() for tensor in moving]
        side, graph = torch.cuda.Stream(self.device), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):  # a step outside, so that libraries find their workspaces
            self.step(board, draw)
        torch.cuda.current_stream(self.device).wait_stream(side)
        for tensor, was in zip(moving, kept, strict=True):
            tensor.copy_(was)
        with torch.cuda.graph(graph):
            for _ in range(STEPS):
                self.step(board, draw)
        return graph
