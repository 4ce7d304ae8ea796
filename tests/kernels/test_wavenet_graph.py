"""The step for CUDA graphs: on any device it is the plain decoder's, and on a GPU the graph's is its own."""

from typing import Any

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.kernels import wavenet_plain
from speechvq.kernels.wavenet_graph import STEPS, GraphWaveNet
from speechvq.kernels.wavenet_plain import Draw, Network, start


def network(*, taps=2, dilations=(1, 2, 5, 1), mixtures=0, R=6, G=10, S=7, P=9, A=31):
    """Widths and dilations that no kernel takes."""
    L, Q = len(dilations), 3 * mixtures or A
    shapes = {
        "enter": (2 if mixtures else A, R), "dilated": (L, taps * R, 2 * G), "residual": (L, G, R),
        "residual_bias": (L, R), "skip": (L * G, S), "skip_bias": (S,), "post": (S, P), "post_bias": (P,),
        "last": (P, Q), "last_bias": (Q,),
    }  # fmt: skip
    tensors: dict[str, Any] = {
        name: torch.randn(shape, dtype=torch.float64) / 2 for name, shape in shapes.items()
    }
    return Network(**tensors, dilations=dilations, levels=A, mixtures=mixtures)


def given(net, N, T, columns):
    conditions = torch.randn(N, len(net.dilations), net.dilated.shape[2], columns, dtype=torch.float64)
    return conditions, torch.rand(N, T, 2 if net.mixtures else 1, dtype=torch.float64)


def begin(net, N):
    return start(net, torch.full((N,), net.levels // 2))


@pytest.mark.parametrize("kind", [{}, {"taps": 3}, {"mixtures": 4}, {"dilations": (3,)}])
@pytest.mark.parametrize("draw", [Draw(), Draw(0.6, top_k=5, top_p=0.9), Draw(0)])
def test_it_is_the_plain_decoder(kind, draw):
    """In double precision: to the last level, and to rounding in what the network says and remembers."""
    net = network(**kind)
    conditions, uniforms = given(net, 3, 24, 6)
    mine, plain = begin(net, 3), begin(net, 3)
    said = GraphWaveNet(net, device="cpu", capture=False).decode(
        mine, conditions, uniforms, draw, logits=True
    )
    want = wavenet_plain.decode(net, plain, conditions, uniforms, draw)
    assert torch.equal(said.steps, want.steps)
    torch.testing.assert_close(said.logits, want.logits)
    torch.testing.assert_close(mine.rings, plain.rings)
    assert torch.equal(mine.before, plain.before)
    assert mine.time == plain.time == 24


def test_going_on_with_the_plain_decoder_and_back():
    net = network(taps=3)
    conditions, uniforms = given(net, 2, 24, 6)
    whole = wavenet_plain.decode(net, begin(net, 2), conditions, uniforms).steps
    graph, past, made = GraphWaveNet(net, device="cpu", capture=False), begin(net, 2), []
    for part in range(3):
        piece = conditions[..., 2 * part : 2 * part + 2], uniforms[:, 8 * part : 8 * part + 8]
        decode = (lambda *a: wavenet_plain.decode(net, *a)) if part == 1 else graph.decode
        made.append(decode(past, *piece).steps)
    assert torch.equal(torch.cat(made, 1), whole)


def test_forced_levels_are_what_was_said():
    net = network()
    conditions, uniforms = given(net, 2, 9, 3)
    forced = torch.randint(net.levels, (2, 9))
    graph = GraphWaveNet(net, device="cpu", capture=False)
    said = graph.decode(begin(net, 2), conditions, uniforms, forced_NT=forced, logits=True)
    want = wavenet_plain.decode(net, begin(net, 2), conditions, uniforms, forced_NT=forced)
    torch.testing.assert_close(said.logits, want.logits)
    assert torch.equal(said.steps, want.steps)


def test_what_cannot_be_is_refused_in_a_sentence():
    net = network()
    with pytest.raises(BadSetting, match="no CUDA graphs on cpu; take capture=False"):
        GraphWaveNet(net, device="cpu")
    graph = GraphWaveNet(net, device="cpu", capture=False)
    conditions, uniforms = given(net, 1, 5, 2)
    with pytest.raises(ValueError, match="5 samples cannot share 2 columns"):
        graph.decode(begin(net, 1), conditions, uniforms)
    assert graph.decode(begin(net, 1), conditions[..., :0], uniforms[:, :0]).steps.shape == (1, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", [{}, {"taps": 3}, {"mixtures": 4}])
def test_captured_it_says_the_same(kind):
    net = network(**kind)
    conditions, uniforms = given(net, 3, 6 * STEPS + 6, 6)
    said = GraphWaveNet(net).decode(begin(net, 3), conditions, uniforms, logits=True)
    want = wavenet_plain.decode(net, begin(net, 3), conditions, uniforms, forced_NT=said.steps.cpu())
    torch.testing.assert_close(said.logits.cpu(), want.logits)
    assert (said.steps.cpu() != want.steps).float().mean() < 0.01
