"""WaveNet decoding on a GPU by one persistent kernel: samples are made without returning to Python.

`takes` says which networks it is for: a category per level, kernel width 2, dilations 1, 2, 4 ... that
start again after every so many layers, and channels that are powers of two. Others go to
`speechvq.kernels.wavenet_graph`. The kernel itself is in `speechvq.kernels.wavenet_triton_kernels`, which
is imported at the first sample: this file imports without Triton.

What it says agrees with `speechvq.kernels.wavenet_plain` in double precision to about 1e-4 of the size of
the logits (matrices rounded to bfloat16 are compared rounded), so that samples are equal but where a
uniform number lies that near to the edge between two levels.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels.wavenet_plain import Draw, Network, Past, Spoken

STORAGES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""How the matrices lie in memory. Sums are float32 either way, activations at least 16 bits."""
RUN = 16384
"""Samples of one launch, so that an interrupt is heard and no watchdog wakes."""
SHARED = 200 * 1024
"""Bytes of shared memory that the weights of all stages may take, of the 227 KiB of an H100 program."""


@dataclass(frozen=True)
class Tile:
    """What one program holds, and how it is run."""

    utterances: int
    """Spoken side by side by one program, a power of two of at least 8: the columns of a product."""
    chunk: int
    """Gate channels of one turn, a power of two of at least 16."""
    warps: int
    """Groups of 32 threads a program."""
    stages: int
    """Turns whose weights are held at a time; 1 loads them when they are needed."""

    def constants(self, net: Network, storage: str) -> dict[str, Any]:
        """What the kernel is compiled for, but for how it samples."""
        R, G, S, P, A = channels(net)  # noqa: N806
        return {
            "LAYERS": len(net.dilations), "CYCLE": _cycle(net.dilations),
            "R": R, "G": G, "S": S, "P": P, "A": A,
            "U": self.utterances, "CHUNK": self.chunk,
            "POST": min(P, 32 if storage == "float32" else 64),
            "SPLIT": storage == "bfloat16", "STAGES": self.stages,
        }  # fmt: skip


def channels(net: Network) -> tuple[int, int, int, int, int]:
    """Residual, gate, skip and post channels, and outputs."""
    (_, gate, residual), (skip, post) = net.residual.shape, net.post.shape
    return residual, gate, skip, post, net.last.shape[1]


def takes(net: Network, draw: Draw = Draw()) -> str | None:  # noqa: B008 (frozen)
    """Why the kernel cannot speak for this network, in a few words; None when it can."""
    cycle = _cycle(net.dilations)
    if net.mixtures:
        return "it says mixtures of logistics, not categories"
    if net.taps != 2:
        return f"its kernel is {net.taps} wide, not 2"
    if net.dilations != tuple(2 ** (i % cycle) for i in range(len(net.dilations))):
        return "its dilations are not 1, 2, 4 and so on, again and again"
    if any(not 16 <= c <= 256 or c & (c - 1) for c in channels(net)):
        return f"its channels {channels(net)} are not all powers of two from 16 to 256"
    return None if draw.top_p >= 1 else "it cannot draw with top-p"


def usable(device: torch.device) -> bool:
    """Whether the kernel runs there: an NVIDIA GPU (Ampere or newer), Triton, and a C compiler for it."""
    if device.type != "cuda" or not torch.version.cuda or not _has_triton():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def tile(net: Network, batch: int, *, storage: str, processors: int) -> Tile:
    """A tile that keeps every multiprocessor busy: 8 utterances a program until there are more programs.

    All of a turn's weights for two turns must fit the shared memory; if no chunk of at least 32 gate
    channels does, one turn at a time.
    """
    R, G, S, *_ = channels(net)  # noqa: N806
    utterances = 8
    while utterances < 32 and batch > utterances * processors:
        utterances *= 2
    a_channel = (5 * R + S) * STORAGES[storage].itemsize
    chunk = G
    while chunk > 32 and 2 * chunk * a_channel > SHARED:
        chunk //= 2
    stages = 2 if 2 * chunk * a_channel <= SHARED else 1
    return Tile(utterances, chunk, warps=8 if S >= 128 else 4, stages=stages)


class TritonWaveNet:
    """A network laid out for the kernel: a snapshot, on one device."""

    def __init__(
        self,
        net: Network,
        *,
        storage: str = "bfloat16",
        device: torch.device | str = "cuda",
        tile: Tile | None = None,
    ) -> None:
        """Lay out the weights.

        Args:
            net: in any dtype and on any device; a network that the kernel `takes`.
            storage: how its matrices lie in memory, one of `STORAGES`.
            device: where it speaks.
            tile: how the kernel is run; by default as `tile` chooses for each batch.

        Raises:
            BadSetting: there is no such storage, or the kernel does not take the network.
        """
        if storage not in STORAGES:
            raise BadSetting(f"weights cannot be stored as {storage!r}; choose one of {', '.join(STORAGES)}")
        if reason := takes(net):
            raise BadSetting(f"the GPU kernel does not speak for this WaveNet: {reason}")
        self.net, self.storage, self.tile, self.device = net, storage, tile, torch.device(device)
        R, G, S, *_ = channels(net)  # noqa: N806
        L = len(net.dilations)  # noqa: N806
        # Outputs before inputs: a row is then contiguous along what a product sums over.
        matrices = {
            "dilated": net.dilated.reshape(L, 2, R, 2 * G).transpose(2, 3),
            "residual": net.residual.transpose(1, 2), "skip": net.skip.reshape(L, G, S).transpose(1, 2),
            "post": net.post.T, "last": net.last.T,
        }  # fmt: skip
        self._weights = tuple(
            (matrices[name].to(self.device, STORAGES[storage]) if name in matrices
             else tensor.to(self.device, torch.float32)).contiguous()
            for name, tensor in net.tensors.items()
        )  # fmt: skip

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
            BadSetting: the kernel does not draw so.
            ValueError: the samples do not share the conditions evenly.
        """
        if reason := takes(self.net, draw):
            raise BadSetting(f"the GPU kernel does not speak so: {reason}")
        (N, T, _), F = uniforms_NTU.shape, conditions_NLGF.shape[3]  # noqa: N806
        if T % max(1, F) or (T and not F):
            raise ValueError(f"{T} samples cannot share {F} columns of conditions evenly")
        own = {"dtype": torch.float32, "device": self.device}
        rings = torch.zeros(_places(self.net.dilations), N, channels(self.net)[0], **own)
        ours, theirs = _slots(self.net.dilations, past.time, self.device)
        rings[ours] = past.rings[:, theirs.to(past.rings.device), : rings.shape[2]].transpose(0, 1).to(**own)
        level = past.before.to(self.device, torch.int32).contiguous()
        levels = torch.empty(N, T, dtype=torch.int32, device=self.device)
        said = torch.empty(N, T if logits else 0, channels(self.net)[4], **own)
        forced = levels if forced_NT is None else forced_NT.to(self.device, torch.int32).contiguous()
        tensors = (
            *self._weights, conditions_NLGF.permute(0, 3, 1, 2).to(**own).contiguous(),
            uniforms_NTU[:, :, 0].to(**own).contiguous(), rings, level, levels, forced, said,
        )  # fmt: skip
        options = {"FORCED": forced_NT is not None, "HEARD": logits}
        self._launch(tensors, (N, T, F), past.time, draw, options)
        past.time += T
        past.before = level.to(past.before)
        ours, theirs = _slots(self.net.dilations, past.time, self.device)
        past.rings[:, theirs.to(past.rings.device), : rings.shape[2]] = (
            rings[ours].transpose(0, 1).to(past.rings)
        )
        return Spoken(levels.long(), said)

    def _launch(
        self,
        tensors: tuple[Tensor, ...],
        sizes: tuple[int, int, int],
        time: int,
        draw: Draw,
        options: dict[str, bool],
    ) -> None:
        """Run the kernel over all samples."""
        (N, T, F), hop = sizes, sizes[1] // max(1, sizes[2])  # noqa: N806
        chosen = self.tile or tile(self.net, N, storage=self.storage, processors=_processors(self.device))
        constants = chosen.constants(self.net, self.storage) | options
        constants |= {"GREEDY": draw.temperature == 0, "TOP_K": draw.top_k}
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            for first in range(0, T if N else 0, RUN):
                _kernels().speak[(-(-N // chosen.utterances),)](
                    *tensors, N, T, F, first, min(T, first + RUN), time, hop, draw.temperature or 1.0,
                    **constants, num_warps=chosen.warps,
                )  # fmt: skip


def _places(dilations: tuple[int, ...]) -> int:
    return sum(d + 1 for d in dilations)


def _slots(dilations: tuple[int, ...], time: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the kernel's rings, of a place more each, and those of a `Past` hold the same inputs."""
    ours, theirs, begin = [], [], 0
    for layer, dilation in enumerate(dilations):
        seen = torch.arange(time, time + dilation, device=device)
        ours.append((seen - dilation) % (dilation + 1) + begin + layer)
        theirs.append(seen % dilation + begin)
        begin += dilation
    return torch.cat(ours), torch.cat(theirs)


def _cycle(dilations: tuple[int, ...]) -> int:
    """Layers until the dilations start again."""
    return dilations.index(1, 1) if 1 in dilations[1:] else len(dilations)


def _processors(device: torch.device) -> int:
    """How many multiprocessors the GPU has; where kernels are interpreted, one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@cache
def _has_triton() -> bool:
    compiler = os.environ.get("CC") or which("clang") or which("gcc")
    return bool(compiler) and find_spec("triton") is not None


@cache
def _kernels() -> ModuleType:
    return import_module("speechvq.kernels.wavenet_triton_kernels")
