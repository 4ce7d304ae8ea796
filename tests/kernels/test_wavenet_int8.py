"""WaveNets stored as bytes against the plain decoder in float64, with weights rounded by the same rule.

Tolerance: logits within 3e-4 of the largest, and within some percent of those of weights that were not
rounded; samples equal but where the uniform number lies within 1e-3 of the edge between two levels.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels import native
from speechvq.kernels.wavenet_cpu import NativeWaveNet
from speechvq.kernels.wavenet_plain import Network, Past, Spoken, decode

from .wavenet_random import beginning, random_net, spoken_to

pytestmark = pytest.mark.skipif(not native.available(), reason="the kernels are not compiled here")

TOLERANCE, EDGE = 3e-4, 1e-3
ODD = {"residual": 20, "gate": 12, "skip": 40, "post": 9, "outputs": 31}


def rounded(matrix: Tensor) -> Tensor:
    """(..., inputs, outputs): the nearest of 255 even steps up to the largest weight of the output."""
    scale = matrix.abs().amax(-2, keepdim=True) / 127
    return torch.where(scale > 0, (matrix / scale).round() * scale, 0)


def twin(net: Network) -> Network:
    """In float64, its matrices rounded: each tap's, each layer's, the skips of all layers as one."""
    taps = rounded(net.dilated.unflatten(1, (net.taps, -1))).flatten(1, 2)
    others = {name: rounded(getattr(net, name)) for name in ("residual", "skip", "post", "last")}
    return replace(net, dilated=taps, **others).to(torch.float64)


def taught(net: Network, rows: int, conditions: Tensor, uniforms: Tensor, steps_NT: Tensor) -> Spoken:
    """The first rows alone, each taught its steps."""
    start, given = beginning(net, rows), (conditions[:rows], uniforms[:rows])
    fast = NativeWaveNet(net, storage="int8")
    return fast.decode(start, *given, forced_NT=steps_NT[:rows], logits=True)


def assert_close(net: Network, rows: int, frames: int = 3, hop: int = 11) -> None:
    """Taught by the twin's samples, and free up to the first near tie."""
    conditions, uniforms = spoken_to(net, rows, frames, hop)
    exact, whole = twin(net), net.to(torch.float64)
    past, own = beginning(exact, rows), beginning(net, rows)
    wanted = decode(exact, past, conditions.double(), uniforms)
    fast = NativeWaveNet(net, storage="int8")
    got = fast.decode(own, conditions, uniforms, forced_NT=wanted.steps, logits=True)
    assert (got.logits - wanted.logits).abs().max() <= TOLERANCE * wanted.logits.abs().max()
    torch.testing.assert_close(own.rings.double(), past.rings, rtol=0, atol=10 * TOLERANCE)
    told = decode(whole, beginning(whole, rows), conditions.double(), uniforms, forced_NT=wanted.steps)
    apart = (got.logits - told.logits).abs().max() / told.logits.abs().max()
    assert TOLERANCE < apart <= 0.05
    if net.mixtures:
        return
    free = fast.decode(beginning(net, rows), conditions, uniforms).steps
    edges = wanted.logits.softmax(2).cumsum(2)
    for said, by in ((got.steps, len(got.steps[0])), (free, 1)):
        for row in range(rows):
            for now in (said[row] != wanted.steps[row]).nonzero()[:by, 0].tolist():
                assert (edges[row, now] - uniforms[row, now, 0]).abs().min() < EDGE


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 19])
@pytest.mark.parametrize("shape", [{}, {"taps": 3}, ODD, {"mixtures": 4}])
def test_every_instruction_set_and_any_widths(kernel: str, rows: int, shape: dict):
    assert_close(random_net(**shape), rows)


@pytest.mark.parametrize("widths", [(32, 128), (64, 256), (128, 256)])
def test_published_shapes(widths: tuple):
    residual, skip = widths
    assert_close(random_net(20, 10, residual, residual, skip, 256, 256), 1, 2, 12)


@pytest.mark.parametrize("shape", [{}, ODD])
def test_rows_pieces_and_threads_change_no_bit(kernel: str, shape: dict):
    net = random_net(**shape)
    conditions, uniforms = spoken_to(net, 20, 3, 6)
    past, fast = beginning(net, 20), NativeWaveNet(net, storage="int8")
    whole = fast.decode(past, conditions, uniforms, logits=True)
    threads = NativeWaveNet(net, storage="int8", threads=3)
    assert torch.equal(
        threads.decode(beginning(net, 20), conditions, uniforms, logits=True).logits, whole.logits
    )
    for rows in range(1, 20):
        own, said = beginning(net, rows), []
        for frames in ([0], [1, 2]):
            samples = slice(frames[0] * 6, (frames[-1] + 1) * 6)
            given = conditions[:rows, ..., frames], uniforms[:rows, samples]
            said.append(fast.decode(own, *given, logits=True).logits)
        assert torch.equal(torch.cat(said, 1), whole.logits[:rows])
        assert torch.equal(own.rings, past.rings[:rows])


def test_outputs_of_any_size_have_their_own_scale(kernel: str):
    net = random_net()
    sizes = torch.logspace(-6, 3, 64)[torch.randperm(64)] * (torch.arange(64) != 9)
    net = replace(net, last=net.last * sizes, last_bias=torch.zeros(64))
    conditions, uniforms = spoken_to(net, 5, 2, 9)
    exact = twin(net)
    wanted = decode(exact, beginning(exact, 5), conditions.double(), uniforms)
    for rows in (1, 5):
        got = taught(net, rows, conditions, uniforms, wanted.steps)
        sides = zip(got.logits.unbind(2), wanted.logits[:rows].unbind(2), strict=True)
        for mine, its in sides:
            assert (mine - its).abs().max() <= 10 * TOLERANCE * its.abs().max()


def test_nothing_but_zeros(kernel: str):
    net = random_net()
    net = replace(net, **{name: torch.zeros_like(tensor) for name, tensor in net.tensors.items()})
    conditions, uniforms = spoken_to(net, 4, 2, 5)
    past = Past(torch.zeros(4, net.places, 16), torch.zeros(4, dtype=torch.int64))
    got = NativeWaveNet(net, storage="int8").decode(past, conditions * 0, uniforms, logits=True)
    assert not got.logits.any()


def test_the_widest_sums_fit_and_wider_ones_are_refused(kernel: str):
    def net(gate: int) -> Network:
        found = random_net(1, 1, 1, gate, 3, 3, 5)
        return replace(found, skip=-torch.ones_like(found.skip), skip_bias=torch.tensor([7e4, 6.5e4, 1]))

    most = net(65536)
    conditions = torch.full((5, 1, 2 * 65536, 1), 40.0)  # every gate is open
    exact, uniforms = twin(most), torch.rand(5, 2, 1, dtype=torch.float64)
    wanted = decode(exact, beginning(exact, 5), conditions.double(), uniforms)
    for rows in (1, 5):
        got = taught(most, rows, conditions, uniforms, wanted.steps)
        assert (got.logits - wanted.logits[:rows]).abs().max() <= TOLERANCE * wanted.logits.abs().max()
    with pytest.raises(
        BadSetting, match="int8 takes up to 65536 inputs of a matrix, not 65537; store float24"
    ):
        NativeWaveNet(net(65537), storage="int8")
