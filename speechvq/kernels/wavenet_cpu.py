"""The decoding of `speechvq.kernels.wavenet_plain` by the compiled library, for float32 on a CPU.

The library (``src/wavenet*``, compiled by `speechvq.kernels.build`) carries one decoder for each
instruction set (generic, avx2, avx512, amx) and takes the fastest that this processor has;
SPEECHVQ_KERNEL names another, or "plain" for none of them. Calls let other Python threads run.

What it says agrees with float64 to 1e-4 of the largest logit. With weights stored whole (float32) samples
are equal but where a uniform number lies within 1e-5 of the edge between two levels; cut to 24 bits
(float24), within 1e-4. bfloat16 errs by some percent: its logits are those of weights rounded to 8 bits.
int8 does too: a weight is the nearest of 255 even steps up to the largest of its output in its matrix (of
each tap, each layer; the skips of all layers are one), and what it is multiplied by the nearest of 65535
up to the largest of its row. Its logits are those of weights so rounded to 3e-4 of the largest.
One utterance with weights stored whole is spoken several samples at a time: bfloat16 weights guess them,
the whole ones check them, and what is said is what the whole ones alone say, in every bit.
A stream is in every bit what the whole is, and a row of a batch what it is alone; but amx multiplies
float24 and bfloat16 weights by other instructions for batches than for one, with the same tolerance.
"""

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_int, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels import native
from speechvq.kernels.wavenet_plain import Draw, Network, Past, Spoken

STORAGES = ("float32", "float24", "bfloat16", "int8")
"""How weights can lie in memory; 4, 3, 2 and 1 bytes."""

_MOST_INPUTS = 65536  # of a matrix in int8: what sums of 32 bits hold
_WEIGHTS = (
    "enter", "dilated", "residual", "residual_bias", "skip", "skip_bias",
    "post", "post_bias", "last", "last_bias",
)  # fmt: skip
_WIDTHS = ("layers", "taps", "residual", "gate", "skip", "post", "outputs", "levels", "mixtures")


class _Shape(Structure):
    _fields_ = [*((name, c_int64) for name in _WIDTHS), ("dilations", POINTER(c_int64))]


class _Weights(Structure):
    _fields_ = [(name, c_void_p) for name in _WEIGHTS]


class _Job(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "frames", "hop")),
        *((name, c_void_p) for name in ("conditions", "uniforms")),
        ("temperature", c_double),
        ("top_k", c_int64),
        *((name, c_double) for name in ("top_p", "floor")),
        *((name, c_void_p) for name in ("past", "before")),
        ("time", c_int64),
        *((name, c_void_p) for name in ("forced", "made", "logits")),
    ]


def available() -> bool:
    """Whether this module can be used: the library is there and SPEECHVQ_KERNEL does not say "plain"."""
    return native.available()


def name() -> str:
    """The instruction set in use: "generic", "avx2", "avx512" or "amx".

    Raises:
        BadSetting: SPEECHVQ_KERNEL names one that this machine cannot run.
    """
    found = _library().speechvq_wavenet_kernel(_asked())
    if found is None:
        raise BadSetting(f"{native.VARIABLE}={os.environ.get(native.VARIABLE)} does not run on this machine")
    return found.decode()


class NativeWaveNet:
    """A network laid out for this processor: a snapshot, in memory that is its own."""

    def __init__(self, net: Network, *, storage: str = "float24", threads: int = 1) -> None:
        """Lay out the weights.

        Args:
            net: in any dtype and on any device; it is not needed afterwards.
            storage: how its weights lie in memory, one of `STORAGES`.
            threads: how many utterances are decoded at the same time, at most.

        Raises:
            BadSetting: there is no such storage, it does not take a network so wide, or SPEECHVQ_KERNEL
                names what this machine cannot run.
            ValueError: the weights do not fit together, or are not all finite.
        """
        if storage not in STORAGES:
            raise BadSetting(f"weights cannot be stored as {storage!r}; choose one of {', '.join(STORAGES)}")
        self.instructions, self.storage, self.threads = name(), storage, threads
        self.net = net
        tensors = {k: v.detach().to("cpu", torch.float32).contiguous() for k, v in net.tensors.items()}
        _check(net)
        widest = max(len(net.skip), *net.post.shape, net.residual.shape[2])
        if storage == "int8" and widest > _MOST_INPUTS:
            raise BadSetting(
                f"int8 takes up to {_MOST_INPUTS} inputs of a matrix, not {widest}; store float24"
            )
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("the WaveNet has weights that are not finite")
        shape = _Shape(*_widths(net).values(), (c_int64 * len(net.dilations))(*net.dilations))
        weights = _Weights(*(tensors[key].data_ptr() for key in _WEIGHTS))
        self._release = _library().speechvq_wavenet_release
        self._handle = _library().speechvq_wavenet_pack(
            _asked(), byref(shape), byref(weights), STORAGES.index(storage)
        )
        if not self._handle:
            raise MemoryError("not enough memory for the weights of the WaveNet")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._release(self._handle)

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
            ValueError: shapes or types are others.
        """
        widths = _widths(self.net)
        N, frames, T = len(past.before), conditions_NLGF.shape[-1], uniforms_NTU.shape[1]
        _check_job(self.net, past, conditions_NLGF, uniforms_NTU, forced_NT)
        conditions = conditions_NLGF.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        uniforms = uniforms_NTU.to(torch.float64).contiguous()
        forced = None if forced_NT is None else forced_NT.to(torch.int64).contiguous()
        made = torch.empty(N, T, dtype=torch.int64)
        said = torch.empty((N, T, widths["outputs"]) if logits else 0)
        job = _Job(
            N, frames, T // max(1, frames), conditions.data_ptr(), uniforms.data_ptr(),
            draw.temperature, draw.top_k, draw.top_p, self.net.floor,
            past.rings.data_ptr(), past.before.data_ptr(), past.time,
            None if forced is None else forced.data_ptr(), made.data_ptr(), said.data_ptr() or None,
        )  # fmt: skip
        if _library().speechvq_wavenet_decode(self._handle, self.threads, byref(job)):
            raise MemoryError("not enough memory to decode so many utterances at once")
        past.time += T
        return Spoken(made, said)


def _widths(net: Network) -> dict[str, int]:
    layers, gate, residual = net.residual.shape
    (skip, post), outputs = net.post.shape, net.last.shape[1]
    widths = (layers, net.taps, residual, gate, skip, post, outputs, net.levels, net.mixtures)
    return dict(zip(_WIDTHS, widths, strict=True))


def _check(net: Network) -> None:
    """Raise ValueError where the weights do not fit together."""
    w = _widths(net)
    L, R, G, S, P, Q = (w[k] for k in ("layers", "residual", "gate", "skip", "post", "outputs"))
    wanted = {
        "enter": (2 if net.mixtures else net.levels, R), "dilated": (L, net.taps * R, 2 * G),
        "residual": (L, G, R), "residual_bias": (L, R), "skip": (L * G, S), "skip_bias": (S,),
        "post": (S, P), "post_bias": (P,), "last": (P, Q), "last_bias": (Q,),
    }  # fmt: skip
    for key, shape in wanted.items():
        if tuple(net.tensors[key].shape) != shape:
            raise ValueError(f"{key} of the WaveNet is {tuple(net.tensors[key].shape)}, not {shape}")
    if (3 * net.mixtures or net.levels) != Q or net.taps < 2 or len(net.dilations) != L:
        raise ValueError("outputs, taps or dilations do not fit the rest of the WaveNet")
    if min(net.dilations) < 1:
        raise ValueError(f"dilations must be at least 1, not {net.dilations}")


def _check_job(net: Network, past: Past, conditions: Tensor, uniforms: Tensor, forced: Tensor | None) -> None:
    N, T, U = uniforms.shape
    L, G, R = net.residual.shape
    wanted = (N, L, 2 * G, conditions.shape[-1])
    if tuple(conditions.shape) != wanted or T % max(1, wanted[3]) or (T and not wanted[3]):
        raise ValueError(f"conditions {tuple(conditions.shape)} do not serve uniforms {(N, T, U)}")
    rings = (N, net.places, -(-R // 16) * 16)
    if tuple(past.rings.shape) != rings or past.rings.dtype != torch.float32 or past.before.shape != (N,):
        raise ValueError(f"the past must be float32 {rings}, not {tuple(past.rings.shape)}")
    if (2 if net.mixtures else 1) != U or (forced is not None and forced.shape != (N, T)):
        raise ValueError(f"{U} uniform numbers a sample, or forced samples, do not fit this WaveNet")
    if past.before.dtype != torch.int64 or not (past.rings.is_contiguous() and past.before.is_contiguous()):
        raise ValueError("the past must be contiguous and its samples int64")
    for levels in (past.before, *([] if forced is None else [forced])):
        if levels.numel() and not 0 <= int(levels.min()) <= int(levels.max()) < net.levels:
            raise ValueError(f"a sample is outside the {net.levels} levels")


def _asked() -> bytes | None:
    """The kernel that SPEECHVQ_KERNEL names."""
    asked = os.environ.get(native.VARIABLE)
    return asked.encode() if asked else None


@cache
def _library() -> ctypes.CDLL:
    library = native._loaded()
    library.speechvq_wavenet_kernel.argtypes = [c_char_p]
    library.speechvq_wavenet_kernel.restype = c_char_p
    library.speechvq_wavenet_pack.argtypes = [c_char_p, c_void_p, c_void_p, c_int64]
    library.speechvq_wavenet_pack.restype = c_void_p
    library.speechvq_wavenet_decode.argtypes = [c_void_p, c_int64, c_void_p]
    library.speechvq_wavenet_decode.restype = c_int
    library.speechvq_wavenet_release.argtypes = [c_void_p]
    library.speechvq_wavenet_release.restype = None
    return library
