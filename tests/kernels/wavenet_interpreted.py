"""The WaveNet kernel run by Triton's interpreter on the CPU, against the plain decoder.

`test_wavenet_triton` runs this file in a process of its own, because Triton decides when it is imported
whether it compiles or interprets:  TRITON_INTERPRET=1 python -m pytest tests/kernels/wavenet_interpreted.py
"""

import pytest
import torch

from speechvq.kernels import wavenet_plain
from speechvq.kernels.wavenet_plain import Draw, Network, start
from speechvq.kernels.wavenet_triton import STORAGES, Tile, TritonWaveNet

NEAR = 1e-4
"""Of the size of the logits; a uniform number this near to the edge of two levels may fall on either side."""
TILE = Tile(utterances=8, chunk=16, warps=4, stages=2)
ALL = tuple(STORAGES)


def network(R=16, G=16, S=32, P=16, A=32, *, layers=4, cycle=2, storage="float32"):
    """Random weights, scaled so that samples differ, rounded as they are stored."""
    shapes = {
        "enter": (A, R), "dilated": (layers, 2 * R, 2 * G), "residual": (layers, G, R),
        "residual_bias": (layers, R), "skip": (layers * G, S), "skip_bias": (S,), "post": (S, P),
        "post_bias": (P,), "last": (P, A), "last_bias": (A,),
    }  # fmt: skip
    made = {}
    for name, shape in shapes.items():
        bias = name.endswith("bias") or name == "enter"
        made[name] = torch.randn(shape) / (4 if bias else (shape[-2] / 2) ** 0.5)
        if not bias:
            made[name] = made[name].to(STORAGES[storage]).float()
    return Network(**made, dilations=tuple(2 ** (i % cycle) for i in range(layers)), levels=A)


def given(net, N, T, hop=4):
    """Conditions and uniform numbers."""
    return torch.randn(N, len(net.dilations), 2 * net.residual.shape[1], T // hop), torch.rand(N, T, 1)


def begin(net, N):
    """The past of N utterances at their beginning."""
    return start(net, torch.full((N,), net.levels // 2))


def spoken(net, conditions, uniforms, draw=Draw(), *, past=None, storage="float32", tile=TILE, **options):  # noqa: B008
    """What the kernel says."""
    past = begin(net, len(uniforms)) if past is None else past
    kernel = TritonWaveNet(net, storage=storage, device="cpu", tile=tile)
    return kernel.decode(past, conditions, uniforms, draw, **options)


def assert_agrees(net, conditions, uniforms, draw=Draw(), **options):  # noqa: B008
    """Logits and levels are those of the plain decoder in double precision, after the same past."""
    said = spoken(net, conditions, uniforms, draw, logits=True, **options)
    double = net.to(torch.float64)
    want = wavenet_plain.decode(
        double, begin(double, len(uniforms)), conditions.double(), uniforms, draw, forced_NT=said.steps
    )
    assert (said.logits - want.logits).abs().max() < NEAR * want.logits.abs().max()
    assert (said.steps != want.steps).float().mean() < 0.02
    assert len(said.steps.unique()) > 1


@pytest.mark.parametrize(
    ("storage", "draw", "N"),
    [("bfloat16", Draw(), 3), ("float32", Draw(0.7, top_k=5), 2), ("bfloat16", Draw(0), 1)],
)
def test_agrees_with_the_plain_decoder(storage, draw, N):
    net = network(storage=storage)
    assert_agrees(net, *given(net, N, 12), draw, storage=storage)


@pytest.mark.parametrize(
    ("layers", "cycle", "storage"), [(3, 3, ALL[0]), (4, 2, ALL[1]), (1, 1, ALL[0]), (3, 1, ALL[0])]
)
def test_dilations_and_gate_channels_in_chunks(layers, cycle, storage):
    net = network(G=32, P=32, layers=layers, cycle=cycle, storage=storage)
    assert_agrees(net, *given(net, 2, 12, hop=3), storage=storage)


def test_a_real_size():
    """The reference's channels, with few layers and samples."""
    net = network(64, 64, 256, 256, 256, layers=3, cycle=3, storage="bfloat16")
    assert_agrees(net, *given(net, 1, 6, hop=3), storage="bfloat16", tile=Tile(8, 32, 8, 2))


def test_more_utterances_than_a_program_speaks_and_each_as_if_alone():
    net = network(layers=2)
    conditions, uniforms = given(net, 11, 4)
    levels = spoken(net, conditions, uniforms).steps
    for n in (7, 10):
        alone = spoken(net, conditions[n : n + 1], uniforms[n : n + 1]).steps
        assert torch.equal(alone[0], levels[n])


def test_going_on_is_as_if_it_had_not_stopped(monkeypatch):
    """Also where the plain decoder goes on from what the kernel left, and the other way round."""
    net = network(layers=3, cycle=3)
    conditions, uniforms = given(net, 2, 16)
    whole, past = spoken(net, conditions, uniforms).steps, begin(net, 2)
    plain = lambda past, *given: wavenet_plain.decode(net, past, *given).steps  # noqa: E731
    kernel = lambda past, *given: spoken(net, *given, past=past).steps  # noqa: E731
    for (first, last), decode in {(0, 4): kernel, (4, 8): plain, (8, 12): kernel, (12, 16): kernel}.items():
        made = decode(past, conditions[..., first // 4 : last // 4], uniforms[:, first:last])
        assert torch.equal(made, whole[:, first:last])
        assert past.time == last
        assert torch.equal(past.before, whole[:, last - 1])
    monkeypatch.setattr("speechvq.kernels.wavenet_triton.RUN", 9)
    assert torch.equal(spoken(net, conditions, uniforms).steps, whole)


def test_forced_levels_are_what_was_said():
    net = network(layers=2)
    conditions, uniforms = given(net, 2, 8)
    forced = torch.randint(net.levels, (2, 8))
    said = spoken(net, conditions, uniforms, forced_NT=forced, logits=True)
    want = wavenet_plain.decode(net, begin(net, 2), conditions, uniforms, forced_NT=forced)
    assert (said.logits - want.logits).abs().max() < NEAR * want.logits.abs().max()


def test_extreme_uniform_numbers_draw_possible_levels():
    net = network(layers=1, cycle=1)
    conditions, uniforms = given(net, 2, 4)
    uniforms[0], uniforms[1] = 0.0, 1 - 2.0**-53  # which rounds to 1 in float32
    one = spoken(net, conditions, uniforms, Draw(top_k=1)).steps
    assert torch.equal(one, spoken(net, conditions, uniforms, Draw(0)).steps)
