"""How `wavenet_gpu.py` reads the time, and on what machine."""

import platform
import time
from typing import Any

import torch

from speechvq.kernels.wavenet_plain import Network, start


def clock(decoder: Any, net: Network, batch: int, device: torch.device, seconds: float) -> float:
    """Samples/s over all streams: the best of several runs, of a length that takes about ``seconds`` in all.

    Everything lies on the device before the clock starts; what was made is on the device when it stops.
    """
    columns, samples = 1, 4 if device.type == "cpu" else 64
    if device.type == "cpu":  # a dry run, in the interpreter
        return batch * samples / _run(decoder, net, batch, columns, samples, device)
    spent = _run(decoder, net, batch, columns, samples, device)  # compiles
    spent = _run(decoder, net, batch, columns, samples, device)
    wanted = min(16_384, max(samples, int(samples * seconds / 3 / max(spent, 1e-6))))
    columns = wanted // 64
    best = min(_run(decoder, net, batch, columns, columns * 64, device) for _ in range(3))
    return batch * columns * 64 / best


def _run(decoder: Any, net: Network, batch: int, columns: int, samples: int, device: torch.device) -> float:
    """Seconds for ``samples`` of each stream."""
    layers, width = len(net.dilations), net.dilated.shape[2]
    conditions = torch.randn(batch, columns, layers, width, device=device).permute(0, 2, 3, 1)
    uniforms = torch.rand(batch, samples, 1, device=device)
    past = start(net, torch.full((batch,), net.levels // 2))
    past.rings, past.before = past.rings.to(device), past.before.to(device)
    _wait(device)
    begin = time.perf_counter()
    decoder.decode(past, conditions, uniforms)
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, str]:
    """The device's name and the versions that matter."""
    import triton

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    versions = {"torch": torch.__version__, "cuda": str(torch.version.cuda), "triton": triton.__version__}
    return {"device": name} | versions
