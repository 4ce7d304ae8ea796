"""WaveNet decoding on a GPU by one persistent kernel: samples are made without returning to Python.

`takes` says which networks it is for: kernel width 2, dilations 1, 2, 4 ... that start again after every
so many layers, and channels that are powers of two. Others go to `speechvq.kernels.wavenet_graph`. The
kernel itself is in `speechvq.kernels.wavenet_triton_kernels`, which is imported at the first sample: this
file imports without Triton.

Equal weights, conditions and uniform numbers give the levels that the plain decoder draws, but where a
uniform number falls so close to the border of two levels that the order of float32 sums decides.
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
from speechvq.kernels.wavenet_weights import Past, Weights

DTYPES = (torch.bfloat16, torch.float32)
"""Of the matrices. Sums are float32 either way."""
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

    def constants(self, weights: Weights) -> dict[str, Any]:
        """What the kernel is compiled for, but for how it samples."""
        R, G, S, P, A = weights.channels  # noqa: N806
        return {
            "LAYERS": weights.layers,
            "CYCLE": _cycle(weights.dilations),
            "R": R, "G": G, "S": S, "P": P, "A": A,
            "U": self.utterances,
            "CHUNK": self.chunk,
            "POST": min(P, 32 if weights.dilated.dtype == torch.float32 else 64),
            "SPLIT": weights.dilated.dtype == torch.bfloat16,
            "STAGES": self.stages,
        }  # fmt: skip


def takes(weights: Weights) -> str | None:
    """Why the kernel cannot speak with these weights, in a few words; None when it can."""
    cycle = _cycle(weights.dilations)
    if weights.taps != 2:
        return f"its kernel is {weights.taps} wide, not 2"
    if weights.dilations != tuple(2 ** (i % cycle) for i in range(weights.layers)):
        return "its dilations are not 1, 2, 4 and so on, again and again"
    if any(not 16 <= c <= 256 or c & (c - 1) for c in weights.channels):
        return f"its channels {weights.channels} are not all powers of two from 16 to 256"
    if weights.dilated.dtype not in DTYPES:
        return f"its matrices are {weights.dilated.dtype}, not bfloat16 or float32"
    return None


def usable(device: torch.device) -> bool:
    """Whether the kernel runs there: an NVIDIA GPU (Ampere or newer), Triton, and a C compiler for it."""
    if device.type != "cuda" or not torch.version.cuda or not _has_triton():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def tile(weights: Weights, batch: int, *, processors: int) -> Tile:
    """A tile that keeps every multiprocessor busy: 8 utterances a program until there are more programs.

    All of a turn's weights for two turns must fit the shared memory; if no chunk of at least 32 gate
    channels does, one turn at a time.
    """
    R, G, S, *_ = weights.channels  # noqa: N806
    utterances = 8
    while utterances < 32 and batch > utterances * processors:
        utterances *= 2
    a_channel = (5 * R + S) * weights.dilated.element_size()
    chunk = G
    while chunk > 32 and 2 * chunk * a_channel > SHARED:
        chunk //= 2
    stages = 2 if 2 * chunk * a_channel <= SHARED else 1
    return Tile(utterances, chunk, warps=8 if S >= 128 else 4, stages=stages)


@torch.no_grad()
def decode(
    weights: Weights,
    conditions_NFLG: Tensor,
    uniforms_NT: Tensor,
    past: Past,
    *,
    hop: int,
    temperature: float = 1.0,
    top_k: int = 0,
    tile: Tile | None = None,
) -> Tensor:
    """The next T levels (N, T) int64 of N utterances; ``past`` moves on.

    Args:
        weights: on the GPU, of a network that the kernel `takes`.
        conditions_NFLG: (N, F, L, 2 G), what the gates add, one column for every ``hop`` samples.
        uniforms_NT: (N, T) in [0, 1), T at most F * hop.
        past: where the utterances stand.
        hop: samples a column.
        temperature: divides the logits; 0 takes the likeliest level.
        top_k: draw among so many likeliest levels only; 0 for all.
        tile: how it is run; by default as `tile` chooses.

    Raises:
        BadSetting: the kernel does not take the network.
    """
    if reason := takes(weights):
        raise BadSetting(f"the GPU kernel does not speak with this WaveNet: {reason}; use the CUDA graph")
    (N, T), F = uniforms_NT.shape, conditions_NFLG.shape[1]  # noqa: N806
    if F * hop < T:
        raise ValueError(f"{T} samples do not fit {F} columns of conditions of {hop} samples each")
    chosen = tile or _tile(weights, N)
    levels_NT = torch.empty(N, T, dtype=torch.int32, device=uniforms_NT.device)
    tensors = (
        *_flat(weights), conditions_NFLG.float().contiguous(), uniforms_NT.float().contiguous(),
        past.rings, past.level, levels_NT,
    )  # fmt: skip
    sampling = {"GREEDY": temperature == 0, "TOP_K": top_k}
    programs = (-(-N // chosen.utterances),)
    with torch.cuda.device(weights.enter.device) if weights.enter.is_cuda else nullcontext():
        for first in range(0, T, RUN):
            _kernels().speak[programs](
                *tensors, N, T, F, first, min(T, first + RUN), past.time, hop, temperature or 1.0,
                **chosen.constants(weights), **sampling, num_warps=chosen.warps,
            )  # fmt: skip
    past.time += T
    return levels_NT.long()


def _flat(weights: Weights) -> tuple[Tensor, ...]:
    """The tensors as the kernel names them; the gates' halves of each tap come apart by their order."""
    w = weights
    return (
        w.enter, w.dilated, w.residual, w.residual_bias, w.skip, w.skip_bias,
        w.post, w.post_bias, w.out, w.out_bias,
    )  # fmt: skip


def _cycle(dilations: tuple[int, ...]) -> int:
    """Layers until the dilations start again."""
    return dilations.index(1, 1) if 1 in dilations[1:] else len(dilations)


def _tile(weights: Weights, batch: int) -> Tile:
    device = weights.enter.device
    on_gpu = device.type == "cuda"
    count = torch.cuda.get_device_properties(device).multi_processor_count if on_gpu else 1
    return tile(weights, batch, processors=count)


@cache
def _has_triton() -> bool:
    compiler = os.environ.get("CC") or which("clang") or which("gcc")
    return bool(compiler) and find_spec("triton") is not None


@cache
def _kernels() -> ModuleType:
    return import_module("speechvq.kernels.wavenet_triton_kernels")
