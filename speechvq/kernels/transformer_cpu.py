"""A causal transformer one place at a time by the compiled library, for float32 on a CPU.

What `speechvq.nets.transformer.Block` says of the next place of each row, block after block, with keys and
values kept in buffers; and, if asked for, a norm and a linear layer after the last. The library
(``src/transformer*``, compiled by `speechvq.kernels.build`) carries one for each instruction set (generic,
avx2, avx512) and takes the fastest that this processor has; SPEECHVQ_KERNEL names another, or "plain" for
none of them.

A product with few rows reads every weight once, and that is what takes its time. Here the weights lie in
the order in which they are read, are asked of the memory before they are needed, and serve all rows while
they are in the first cache; and they take 20 bits: of 64 inputs of an output, or what is left of them, each
weight is a whole number times what the largest is a 2^19th of. One thread works, and calls let others run.
A row comes out equal in every bit alone and in any batch; what it says agrees with torch to 1e-5 of the
largest.

Legend: R rows, E channels, A of the attention, H heads, W between a block's two layers, Q outputs.
"""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels import native
from speechvq.kernels.native import _asked

type Weights = Mapping[str, Tensor]
"""The tensors of a block by the names of `BLOCK`, outputs before inputs."""

BLOCK = (
    "before", "before_bias", "look", "look_bias", "bring", "bring_bias",
    "between", "between_bias", "widen", "widen_bias", "narrow", "narrow_bias",
)  # fmt: skip
LEAVE = ("norm", "norm_bias", "weight", "bias")
"""Of what follows the blocks: a norm, and last layers (N, Q, E) and (N, Q) of which each step takes one."""
EPSILON = 1e-5
"""Of all norms."""
LANES = 16
"""What widths are multiples of."""
_SHAPE = ("layers", "width", "attention", "heads", "wide", "leaves", "outputs")


class _Shape(Structure):
    _fields_ = [(name, c_int64) for name in _SHAPE]


class _Block(Structure):
    _fields_ = [(name, c_void_p) for name in BLOCK]


class _Leave(Structure):
    _fields_ = [(name, c_void_p) for name in LEAVE]


class _Step(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "place", "first", "length")),
        ("turn", c_void_p),
        ("kept", POINTER(c_void_p)),
        ("x", c_void_p),
        ("leave", c_int64),
        ("logits", c_void_p),
    ]


def available() -> bool:
    """Whether this module can be used: the library is there and SPEECHVQ_KERNEL does not say "plain"."""
    return native.available()


def fits(width: int, attention: int, heads: int, wide: int = LANES, outputs: int = LANES) -> bool:
    """Whether it takes a transformer of E, A, H, W, Q: those of a head and all others multiples of 16."""
    return not any(channels % LANES for channels in (width, attention // heads, wide, outputs))


class NativeTransformer:
    """A network laid out for this processor: a snapshot, in memory that is its own."""

    def __init__(self, blocks: Sequence[Weights], *, heads: int, leave: Weights | None = None) -> None:
        """Lay out the weights.

        Args:
            blocks: first to last, at least one unless there is a ``leave``; not needed afterwards.
            heads: H.
            leave: what follows, by the names of `LEAVE`.

        Raises:
            BadSetting: it does not take these widths (`fits`), or SPEECHVQ_KERNEL names what this machine
                cannot run.
            ValueError: the weights do not fit together.
        """
        held = [_floats(block, BLOCK) for block in blocks]
        last = None if leave is None else _floats(leave, LEAVE)
        sizes = _sizes(held, heads, last)
        self.width, self.outputs, self.layers = sizes["width"], sizes["outputs"], len(held)
        self.leaves = sizes["leaves"]
        self.heads, self.channels = heads, sizes["attention"] // heads
        if not fits(self.width, sizes["attention"], heads, sizes["wide"], self.outputs):
            raise BadSetting(f"the compiled transformer takes widths that are multiples of {LANES} only")
        tables = (_Block * len(held))(*(_Block(*(w[name].data_ptr() for name in BLOCK)) for w in held))
        end = _Leave() if last is None else _Leave(*(last[name].data_ptr() for name in LEAVE))
        shape = _Shape(*(sizes[name] for name in _SHAPE))
        self._step, self._release = (
            _library().speechvq_transformer_step,
            _library().speechvq_transformer_release,
        )
        self._kept: tuple[Tensor, ...] | None = None  # whose addresses are known, and fit
        self._addresses = (c_void_p * 0)()
        self._handle = _library().speechvq_transformer_pack(_asked(), byref(shape), tables, byref(end))
        if not self._handle:
            raise BadSetting(
                f"no kernel for transformers here: {native.VARIABLE} names one that this machine cannot run, "
                "or the memory is out"
            )

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._release(self._handle)

    def step(
        self,
        x_RE: Tensor,
        kept: tuple[Tensor, ...],
        *,
        place: int,
        first: int = 0,
        turn: Tensor | None = None,
        leave: int = -1,
    ) -> Tensor:
        """What comes of the next place.

        Args:
            x_RE: float32, contiguous.
            kept: a buffer a block, (R, 2, H, length, A / H), keys first; the place's are written into it.
                They are looked at only when the tuple is another than at the step before.
            place: how many places were read before.
            first: the first that is seen.
            turn: (A / H / 2) complex64, what queries and keys are turned by; None for nothing.
            leave: which of the last layers is to follow; -1 for none, nor the norm.

        Returns:
            (R, E), or (R, Q) after a last layer.

        Raises:
            TypeError: ``kept`` is no tuple, of which a buffer might become another unseen.
            ValueError: shapes or types are others.
        """
        x_RE = x_RE.detach().clone(memory_format=torch.contiguous_format)
        rows, length = x_RE.shape[0], kept[0].shape[3] if kept else place + 1
        said = x_RE.new_empty(rows, self.outputs) if leave >= 0 else x_RE
        if not _lies(x_RE, (rows, self.width), torch.float32) or not 0 <= first <= place < length:
            raise ValueError(
                f"{tuple(x_RE.shape)} at the place {place} of {length} is no input of this network"
            )
        if kept is not self._kept or (kept and len(kept[0]) != rows):
            self._know(kept, (rows, 2, self.heads, length, self.channels))
        if not -1 <= leave < self.leaves:
            raise ValueError(f"this network has {self.leaves} last layers, of which none is number {leave}")
        if turn is not None and not _lies(turn, (self.channels // 2,), torch.complex64):
            raise ValueError(
                f"this network turns by ({self.channels // 2},) complex64, not {tuple(turn.shape)}"
            )
        turned = None if turn is None else turn.data_ptr()
        job = _Step(
            rows, place, first, length, turned, self._addresses, x_RE.data_ptr(), leave, said.data_ptr()
        )
        if self._step(self._handle, byref(job)):
            raise MemoryError("not enough memory for so many rows at once")
        return said

    def _know(self, kept: tuple[Tensor, ...], shape: tuple[int, ...]) -> None:
        """Check buffers, and keep their addresses."""
        if not isinstance(kept, tuple):
            raise TypeError(f"buffers come as a tuple, not as a {type(kept).__name__}")
        if len(kept) != self.layers or any(not _lies(k, shape, torch.float32) for k in kept):
            raise ValueError(f"this network keeps {self.layers} contiguous buffers {shape} in float32")
        self._kept, self._addresses = kept, (c_void_p * len(kept))(*(k.data_ptr() for k in kept))


def _lies(tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether a tensor is what the library is to find at its address."""
    alike = tuple(tensor.shape) == shape and tensor.dtype == dtype and tensor.device.type == "cpu"
    return alike and tensor.is_contiguous()


def _floats(weights: Weights, names: Sequence[str]) -> dict[str, Tensor]:
    return {name: weights[name].detach().to("cpu", torch.float32).contiguous() for name in names}


def _sizes(blocks: Sequence[Weights], heads: int, leave: Weights | None) -> dict[str, int]:
    """The fields of a shape; ValueError where weights do not fit together."""
    if not blocks and leave is None:
        raise ValueError("a transformer has blocks, or something that follows them")
    width = (blocks[0]["before"] if blocks else leave["norm"]).shape[0]  # type: ignore[index]
    inner, wide = (blocks[0]["bring"].shape[1], len(blocks[0]["widen"])) if blocks else (LANES * heads, LANES)
    norm, wanted = (width,), {"look": (3 * inner, width), "bring": (width, inner)}
    wanted |= {"widen": (wide, width), "narrow": (width, wide), "before": norm, "between": norm}
    biases = {f"{name}_bias": shape[:1] for name, shape in wanted.items()}
    for block in blocks:
        for name, shape in (wanted | biases).items():
            if tuple(block[name].shape) != shape:
                raise ValueError(f"{name} of a block is {tuple(block[name].shape)}, not {shape}")
    leaves, outputs = (0, 0) if leave is None else tuple(leave["bias"].shape)
    if leave is not None and tuple(leave["weight"].shape) != (leaves, outputs, width):
        raise ValueError(f"last layers are {tuple(leave['weight'].shape)}, not {(leaves, outputs, width)}")
    return dict(zip(_SHAPE, (len(blocks), width, inner, heads, wide, leaves, outputs), strict=True))


@cache
def _library() -> ctypes.CDLL:
    library = native._loaded()
    library.speechvq_transformer_pack.argtypes = [c_char_p, c_void_p, c_void_p, c_void_p]
    library.speechvq_transformer_pack.restype = c_void_p
    library.speechvq_transformer_step.argtypes = [c_void_p, c_void_p]
    library.speechvq_transformer_step.restype = c_int
    library.speechvq_transformer_release.argtypes = [c_void_p]
    library.speechvq_transformer_release.restype = None
    return library
