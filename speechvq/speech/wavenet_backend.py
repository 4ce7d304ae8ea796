"""Who speaks for a WaveNet decoder: a kernel that makes many samples at a time, or torch step by step.

All are given the same weights and the same noise and make the same samples, up to near ties: where a
uniform number lies near the edge between two levels (1e-5 with float32 weights, 1e-4 with float24),
rounding may decide otherwise, and what follows then is another take of the same speech. With one and the
same backend a row of a batch is what it would be alone, and a stream what the whole would be.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from speechvq.errors import BadSetting, UnknownName
from speechvq.kernels import wavenet_cpu, wavenet_graph, wavenet_triton
from speechvq.kernels.wavenet_plain import Draw, Network, Past, Spoken, start
from speechvq.nets.wavenet import WaveNet
from speechvq.speech.amplitudes import Amplitudes, LogisticAmplitudes, MuLawAmplitudes
from speechvq.speech.utterances import Speech, TorchSpeech, Utterances

log = logging.getLogger(__name__)


class Kernel(Protocol):
    """What `speechvq.kernels.wavenet_plain.decode` does, for one network."""

    def decode(self, past: Past, conditions_NLGF: Tensor, uniforms_NTU: Tensor, draw: Draw = ...) -> Spoken:
        """The next samples; ``past`` moves on."""
        ...


class KernelSpeech(Speech):
    """By a kernel that speaks many samples at a time."""

    def __init__(self, utterances: Utterances, net: Network, kernel: Kernel) -> None:
        """At the beginning."""
        self.utterances, self.kernel = utterances, kernel
        self.past = start(net, utterances.silence)
        self.draw = _draw(utterances)

    def say(self, local: Tensor) -> Tensor:
        """As `Speech.say`."""
        rows = len(local)
        if rows < len(self.past.before):
            self.past = self.past.first(rows)
        noise = self.utterances.noise(rows, local.shape[2] * self.utterances.hop)
        said = self.kernel.decode(self.past, self.utterances.conditions(local), noise, self.draw)
        return self.utterances.amplitudes.wave(said.steps).to(local.device)


@dataclass(frozen=True)
class Backend:
    """One way of speaking.

    Attributes:
        storages: how it can hold the weights; the first is what it does unless asked.
        missing: why it cannot speak for these utterances with this network, or None.
        make: its kernel, and what to call it in the log.
    """

    storages: tuple[str, ...]
    missing: Callable[[Utterances, Network], str | None]
    make: Callable[[Network, str], tuple[Kernel, str]]


def _native_missing(utterances: Utterances, net: Network) -> str | None:
    if not wavenet_cpu.available():
        return "the compiled library is not there"
    weight = utterances.net.bias
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return f"the decoder is {weight.dtype} on {weight.device}, not float32 on a CPU"
    if not all(tensor.isfinite().all() for tensor in net.tensors.values()):
        return "its weights are not all finite"
    return None


def _native(net: Network, storage: str) -> tuple[Kernel, str]:
    kernel = wavenet_cpu.NativeWaveNet(net, storage=storage, threads=torch.get_num_threads())
    return kernel, kernel.instructions


def _triton_missing(utterances: Utterances, net: Network) -> str | None:
    device = utterances.net.bias.device
    if not wavenet_triton.usable(device):
        return f"the decoder is on {device}; it needs an NVIDIA GPU and Triton"
    return wavenet_triton.takes(net, _draw(utterances))


def _triton(net: Network, storage: str) -> tuple[Kernel, str]:
    device = net.enter.device
    return wavenet_triton.TritonWaveNet(net, storage=storage, device=device), str(device)


def _graph_missing(utterances: Utterances, net: Network) -> str | None:
    device = utterances.net.bias.device
    return None if device.type == "cuda" else f"the decoder is on {device}; it needs an NVIDIA GPU"


def _graph(net: Network, storage: str) -> tuple[Kernel, str]:
    device = net.enter.device
    return wavenet_graph.GraphWaveNet(net.to(getattr(torch, storage)), device=device), str(device)


KERNELS = {
    "triton": Backend(tuple(wavenet_triton.STORAGES), _triton_missing, _triton),
    "graph": Backend(("float32",), _graph_missing, _graph),
    "native": Backend(("float24", "float32", "bfloat16", "int8"), _native_missing, _native),
}
"""Fastest first; "torch" comes after them and always can."""


def speech(
    utterances: Utterances, backend: str | None = None, storage: str | None = None
) -> tuple[Speech, str]:
    """The beginning of ``utterances``, and the name of the backend that speaks.

    Args:
        utterances: what is to be spoken.
        backend: "native" (compiled, on a CPU), "triton" or "graph" (a GPU) or "torch"; by default the
            fastest that is present and takes the network.
        storage: how the backend holds the weights; by default its first of `KERNELS`.

    Raises:
        UnknownName: there is no such backend.
        BadSetting: it cannot speak here, or does not hold weights so.
    """
    if backend not in (None, "torch", *KERNELS):
        raise UnknownName("backend", str(backend), [*KERNELS, "torch"])
    net = network(utterances.net, utterances.amplitudes)
    for name, kind in KERNELS.items():
        if backend not in (None, name):
            continue
        missing = kind.missing(utterances, net)
        if missing is None and storage in (None, *kind.storages):
            storage = storage or kind.storages[0]
            kernel, where = kind.make(net, storage)
            log.info("the WaveNet speaks by the %s backend (%s, %s weights)", name, where, storage)
            return KernelSpeech(utterances, net, kernel), name
        if backend == name:
            raise BadSetting(f"the {name} backend cannot speak so: {missing or _held(name, storage)}")
    if storage is not None:
        raise BadSetting(f"no backend that is present holds its weights as {storage!r}: leave storage out")
    log.info("the WaveNet speaks by torch, step by step")
    return TorchSpeech(utterances), "torch"


@torch.no_grad()
def network(net: WaveNet, amplitudes: Amplitudes) -> Network:
    """The weights of a decoder as the kernels take them; a snapshot."""
    width, weights, layers = net.stack.residual, net.state_dict(), range(net.stack.layers)
    leave = [(weights[f"leave.{i}.weight"][:, :, 0].T, weights[f"leave.{i}.bias"]) for i in layers]
    posts = [weights[f"post.{i}.{name}"] for i in (1, 3) for name in ("weight", "bias")]
    dilated = [weights[f"dilated.{i}.weight"].permute(2, 1, 0).flatten(0, 1) for i in layers]
    enter, levels, mixtures, floor = _entering(amplitudes)
    return Network(
        enter=enter,
        dilated=torch.stack(dilated),
        residual=torch.stack([w[:, :width] for w, _ in leave]),
        residual_bias=torch.stack([b[:width] for _, b in leave]),
        skip=torch.cat([w[:, width:] for w, _ in leave]),
        skip_bias=torch.stack([b[width:] for _, b in leave]).sum(0),
        post=posts[0][:, :, 0].T.contiguous(), post_bias=posts[1].clone(),
        last=posts[2][:, :, 0].T.contiguous(), last_bias=posts[3].clone(),
        dilations=net.stack.dilations, levels=levels, mixtures=mixtures, floor=floor,
    )  # fmt: skip


def _entering(amplitudes: Amplitudes) -> tuple[Tensor, int, int, float]:
    """What enters the network, the levels, the mixtures, the floor of their scales."""
    if isinstance(amplitudes, LogisticAmplitudes):
        enter = torch.stack([amplitudes.enter.weight[:, 0], amplitudes.enter.bias])
        return enter.detach(), amplitudes.levels, amplitudes.channels // 3, amplitudes.floor
    assert isinstance(amplitudes, MuLawAmplitudes)
    return (amplitudes.weight + amplitudes.bias).detach(), amplitudes.levels, 0, 0.0


def _draw(utterances: Utterances) -> Draw:
    sampling = utterances.sampling
    return Draw(sampling.temperature, sampling.top_k, sampling.top_p)


def _held(name: str, storage: str | None) -> str:
    return f"it holds weights as {', '.join(KERNELS[name].storages)}, not as {storage!r}"
