"""The compiled WaveNet against the plain one in float64, on fresh random weights.

Tolerance: logits within 1e-4 of the largest; samples equal but where the uniform number lies within 1e-5
(float32 weights) or 1e-4 (float24) of the edge between two levels.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.kernels import native, wavenet_cpu
from speechvq.kernels.wavenet_cpu import NativeWaveNet
from speechvq.kernels.wavenet_plain import Draw, Network, Past, Spoken, decode

from .wavenet_random import beginning, random_net, spoken_to

pytestmark = pytest.mark.skipif(not native.available(), reason="the kernels are not compiled here")

PUBLISHED = [(32, 128, 256), (64, 128, 256), (64, 256, 256), (128, 256, 256)]  # residual, skip, outputs
EDGE = {"float32": 1e-5, "float24": 1e-4}


def assert_same(net: Network, given, draw: Draw, *, storage="float32", threads=1, tolerance=1e-4):
    """Free-running and taught by the plain decoder's samples."""
    conditions, uniforms = given
    rows, exact = len(uniforms), net.to(torch.float64)
    past = beginning(exact, rows)
    wanted = decode(exact, past, conditions.double(), uniforms, draw)
    fast, own = NativeWaveNet(net, storage=storage, threads=threads), beginning(net, rows)
    got = fast.decode(own, conditions, uniforms, draw, forced_NT=wanted.steps, logits=True)
    size = wanted.logits.abs().max()
    assert (got.logits - wanted.logits).abs().max() <= tolerance * size
    torch.testing.assert_close(own.rings.double(), past.rings, rtol=0, atol=10 * tolerance)
    assert (own.time, own.before.tolist()) == (past.time, past.before.tolist())
    if net.mixtures:
        assert ((got.steps - wanted.steps).abs() <= 1).all()
        return
    for place in (got.steps != wanted.steps).nonzero().tolist():
        assert edge_distance(wanted, uniforms, draw, *place) < EDGE[storage]
    free = fast.decode(beginning(net, rows), conditions, uniforms, draw).steps
    for row in range(rows):
        apart = (free[row] != wanted.steps[row]).nonzero()
        if len(apart):  # from a near tie on, they say different things
            assert edge_distance(wanted, uniforms, draw, row, int(apart[0])) < EDGE[storage]


def edge_distance(said: Spoken, uniforms: Tensor, draw: Draw, row: int, now: int) -> float:
    chances = (said.logits[row, now] / (draw.temperature or 1)).softmax(0)
    if draw.top_k:
        chances = chances * (chances >= chances.topk(draw.top_k).values[-1])
    edges = chances.cumsum(0) / chances.sum()
    return (edges - uniforms[row, now, 0]).abs().min().item()


@pytest.mark.parametrize("storage", ["float32", "float24"])
@pytest.mark.parametrize(("widths", "layers"), list(zip(PUBLISHED, (4, 8, 20, 6), strict=True)))
def test_published_shapes_say_what_the_plain_decoder_says(widths: tuple, layers: int, storage: str):
    residual, skip, outputs = widths
    net = random_net(layers, min(layers, 10), residual, residual, skip, outputs, outputs)
    assert_same(net, spoken_to(net, 1, 3, 20), Draw(), storage=storage)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9, 19])
@pytest.mark.parametrize(
    "shape", [{}, {"taps": 3}, {"residual": 20, "gate": 12, "skip": 40, "post": 9, "outputs": 31}]
)
def test_every_instruction_set_and_any_widths(kernel: str, rows: int, shape: dict):
    net = random_net(**shape)
    for storage in EDGE:
        assert_same(net, spoken_to(net, rows, 3, 11), Draw(), storage=storage)


@pytest.mark.parametrize(
    "draw",
    [Draw(0.7), Draw(1.5), Draw(0.0), Draw(top_k=1), Draw(0.9, top_k=5), Draw(top_p=0.6), Draw(1.1, 20, 0.9)],
)
def test_every_way_to_draw(kernel: str, draw: Draw):
    net = random_net()
    if draw.top_p == 1:
        assert_same(net, spoken_to(net, 2, 2, 30), draw)
    exact, (conditions, uniforms) = net.to(torch.float64), spoken_to(net, 2, 2, 30)
    wanted = decode(exact, beginning(exact, 2), conditions.double(), uniforms, draw).steps
    got = NativeWaveNet(net, storage="float32").decode(
        beginning(net, 2), conditions, uniforms, draw, forced_NT=wanted
    )
    assert (got.steps != wanted).sum() <= 1  # a near tie, once in a blue moon


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_mixtures_of_logistics(kernel: str, temperature: float):
    net = random_net(mixtures=4)
    net = replace(net, last=net.last * 0.2, last_bias=net.last_bias - torch.arange(12) // 8 * 4.0)
    assert_same(net, spoken_to(net, 3, 3, 13), Draw(temperature), tolerance=2e-5)


@pytest.mark.parametrize("storage", wavenet_cpu.STORAGES)
def test_pieces_are_the_whole_and_rows_are_alone_in_every_bit(kernel: str, storage: str):
    net = random_net(8, 4, 20, 24)
    conditions, uniforms = spoken_to(net, 7, 6, 9)
    fast, past = NativeWaveNet(net, storage=storage), beginning(net, 7)
    whole = fast.decode(past, conditions, uniforms, logits=True)
    pieces, own = [], beginning(net, 7)
    for frames in ([0], [1, 2], [3, 4, 5]):
        samples = slice(frames[0] * 9, (frames[-1] + 1) * 9)
        pieces.append(fast.decode(own, conditions[..., frames], uniforms[:, samples], logits=True))
    assert torch.equal(torch.cat([p.logits for p in pieces], 1), whole.logits)
    assert torch.equal(own.rings, past.rings)
    for row in (0, 5) if kernel != "amx" or storage in ("float32", "int8") else ():
        alone = Past(beginning(net, 7).rings[:1], beginning(net, 7).before[row : row + 1])
        said = fast.decode(alone, conditions[row, None], uniforms[row, None], logits=True)
        assert torch.equal(said.logits[0], whole.logits[row])
        assert torch.equal(alone.rings[0], past.rings[row])


def test_threads_and_many_rows_change_nothing():
    net = random_net()
    conditions, uniforms = spoken_to(net, 75, 1, 8)
    one, two = beginning(net, 75), beginning(net, 75)
    said = NativeWaveNet(net).decode(one, conditions, uniforms, logits=True)
    again = NativeWaveNet(net, threads=3).decode(two, conditions, uniforms, logits=True)
    assert torch.equal(said.logits, again.logits)
    assert torch.equal(one.rings, two.rings)
    last = one.first(2)
    assert torch.equal(last.before, said.steps[:2, -1])
    assert last.rings.shape[0] == 2


def paired(matrix: Tensor) -> Tensor:
    """Rounded to 16 bits in pairs of inputs: the upper one with the lower one's bits behind its own."""
    words = matrix.contiguous().view(torch.int32).long() & 0xFFFFFFFF
    rounded = words.clone()
    rounded[..., 1::2, :] = (words[..., 1::2, :] + 0x8000) >> 16 << 16
    behind = rounded[..., 1::2, :] >> 16
    sign, magnitude = words[..., 0::2, :] & 0x80000000, words[..., 0::2, :] & 0x7FFFFFFF
    rounded[..., 0::2, :] = (sign | (magnitude + 0x8000 - behind).clamp(min=0) >> 16 << 16) | behind
    assert ((rounded - words).abs() <= 0x8000).all()  # never farther than half of the last of the 16 bits
    return torch.where(rounded >= 2**31, rounded - 2**32, rounded).int().view(torch.float32)


@pytest.mark.parametrize("rows", [1, 4, 35])
def test_bfloat16_is_float32_of_rounded_weights(kernel: str, rows: int):
    net = random_net(8, 4, 32, 48, 64, 32, 128)
    tiled = kernel == "amx" and rows > 1  # whose weights each have a place of their own
    matrices = {name: getattr(net, name) for name in ("dilated", "residual", "skip", "post", "last")}
    rounded = {name: m.bfloat16().float() if tiled else paired(m) for name, m in matrices.items()}
    exact = replace(net, **rounded).to(torch.float64)
    conditions, uniforms = spoken_to(net, rows, 3, 10)
    wanted = decode(exact, beginning(exact, rows), conditions.double(), uniforms)
    got = NativeWaveNet(net, storage="bfloat16").decode(
        beginning(net, rows), conditions, uniforms, forced_NT=wanted.steps, logits=True
    )
    assert (got.logits - wanted.logits).abs().max() <= 1e-4 * wanted.logits.abs().max()
    whole = net.to(torch.float64)
    unrounded = decode(whole, beginning(whole, rows), conditions.double(), uniforms, forced_NT=wanted.steps)
    assert (got.logits - unrounded.logits).abs().max() <= 0.05 * unrounded.logits.abs().max()


def test_huge_gates_and_logits_stay_numbers(kernel: str):
    net = random_net()
    net = replace(net, dilated=net.dilated * 1e4, last=net.last * 1e3)
    conditions, uniforms = spoken_to(net, 2, 2, 20)
    got = NativeWaveNet(net).decode(beginning(net, 2), conditions * 1e3, uniforms, logits=True)
    assert got.logits.isfinite().all()
    assert ((got.steps >= 0) & (got.steps < net.levels)).all()


def test_nothing_to_say_and_what_does_not_fit():
    net = random_net()
    fast, past = NativeWaveNet(net), beginning(net, 2)
    conditions, uniforms = spoken_to(net, 2, 2, 5)
    assert fast.decode(past, conditions[..., :0], uniforms[:, :0]).steps.shape == (2, 0)
    assert fast.decode(beginning(net, 0), conditions[:0], uniforms[:0]).steps.shape == (0, 10)
    with pytest.raises(BadSetting, match="choose one of float32, float24, bfloat16, int8$"):
        NativeWaveNet(net, storage="int3")
    with pytest.raises(ValueError, match="not finite"):
        NativeWaveNet(replace(net, post_bias=net.post_bias / 0))
    with pytest.raises(ValueError, match="skip of the WaveNet"):
        NativeWaveNet(replace(net, skip=net.skip[1:]))
    with pytest.raises(ValueError, match="do not serve"):
        fast.decode(past, conditions, uniforms[:, :9])
    with pytest.raises(ValueError, match="past must be"):
        fast.decode(Past(past.rings[:, 1:], past.before), conditions, uniforms)
    with pytest.raises(ValueError, match="outside the 64 levels"):
        fast.decode(past, conditions, uniforms, forced_NT=torch.full((2, 10), 64))


def test_a_kernel_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "mmx")
    with pytest.raises(BadSetting, match="SPEECHVQ_KERNEL=mmx"):
        NativeWaveNet(random_net())
    monkeypatch.setenv(native.VARIABLE, "plain")
    assert not wavenet_cpu.available()


def test_one_utterance_of_whole_weights_is_guessed_ahead_and_checked(kernel):
    """With narrower weights it would sound otherwise; what they guess wrong does not come out."""
    net = random_net(residual=24, skip=48, post=40, taps=3)
    conditions, uniforms = spoken_to(net, 1, 5, 37)
    wanted = decode(net, beginning(net, 1), conditions, uniforms).steps
    said, pasts = {}, {}
    for storage in ("float32", "bfloat16"):
        pasts[storage] = beginning(net, 1)
        said[storage] = NativeWaveNet(net, storage=storage).decode(pasts[storage], conditions, uniforms).steps
    assert not torch.equal(said["bfloat16"], said["float32"])
    # The same beside another utterance, where nothing is guessed.
    two = beginning(net, 2)
    both = NativeWaveNet(net, storage="float32").decode(
        two, conditions.expand(2, -1, -1, -1).contiguous(), uniforms.expand(2, -1, -1).contiguous()
    )
    assert torch.equal(both.steps[:1], said["float32"])
    assert torch.equal(two.rings[:1], pasts["float32"].rings)
    assert float((wanted == said["float32"]).double().mean()) > 0.5
