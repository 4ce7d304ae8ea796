"""The WaveNet kernel run by Triton's interpreter on the CPU, against its obvious twin.

`test_wavenet_triton` runs this file in a process of its own, because Triton decides when it is imported
whether it compiles or interprets:  TRITON_INTERPRET=1 python -m pytest tests/kernels/wavenet_interpreted.py
"""

import pytest
import torch

from speechvq.kernels.wavenet_triton import DTYPES, Tile, decode
from speechvq.kernels.wavenet_weights import Past, Weights

NEAR = 1e-4
"""A uniform number this close to the border of two levels may fall on either side."""
TILE = Tile(utterances=8, chunk=16, warps=4, stages=2)


def weights(R=16, G=16, S=32, P=16, A=32, *, layers=4, cycle=2, dtype=torch.float32):
    """Random ones, scaled so that samples differ."""
    dilations = tuple(2 ** (i % cycle) for i in range(layers))
    made = Weights(
        enter=torch.randn(A, R),
        dilated=torch.randn(layers, 2, 2 * G, R) / R**0.5,
        residual=torch.randn(layers, R, G) / G**0.5,
        residual_bias=torch.randn(layers, R) / 4,
        skip=torch.randn(layers, S, G) / G**0.5,
        skip_bias=torch.randn(S) / 4,
        post=torch.randn(P, S) / S**0.5,
        post_bias=torch.randn(P) / 4,
        out=torch.randn(A, P) * 2 / P**0.5,
        out_bias=torch.randn(A) / 4,
        dilations=dilations,
    )
    return made.to("cpu", dtype)


def given(w, N, T, hop=4):
    """Conditions and uniform numbers."""
    return torch.randn(N, -(-T // hop), w.layers, w.dilated.shape[2]), torch.rand(N, T)


def spoken(weights, conditions, uniforms, levels, *, hop, temperature=1.0, top_k=0):
    """Levels (N, T) and, of every sample, how near its draw came to another level (N, T).

    One utterance, one sample, one layer at a time, in double precision, with whole histories. After each
    sample the past is that of ``levels``, so that one near tie does not excuse what follows.
    """
    w = weights.to("cpu", torch.float64)
    half = w.dilated.shape[2] // 2
    N, T = uniforms.shape
    drawn, gaps = torch.zeros(N, T, dtype=torch.int64), torch.zeros(N, T, dtype=torch.float64)
    for n in range(N):
        inputs, level = [[] for _ in w.dilations], w.out.shape[0] // 2
        for t in range(T):
            h, skip = w.enter[level].double(), w.skip_bias.double()
            for layer, dilation in enumerate(w.dilations):
                seen = inputs[layer]
                seen.append(h)
                total = conditions[n, t // hop, layer].double()
                for tap in range(w.taps):
                    place = len(seen) - 1 - (w.taps - 1 - tap) * dilation
                    if place >= 0:
                        total = total + w.dilated[layer, tap] @ seen[place]
                u = total[:half].tanh() * total[half:].sigmoid()
                skip = skip + w.skip[layer] @ u
                h = h + w.residual[layer] @ u + w.residual_bias[layer].double()
            y = (w.post @ skip.relu() + w.post_bias.double()).relu()
            logits = w.out @ y + w.out_bias.double()
            drawn[n, t], gaps[n, t] = draw(logits, float(uniforms[n, t]), temperature, top_k)
            level = int(levels[n, t])
    return drawn, gaps


def draw(logits, uniform, temperature, top_k):
    """A level, and the distance of the uniform number to the nearest border between two levels."""
    if temperature == 0:
        top = logits.topk(2).values
        return int(logits.argmax()), float(top[0] - top[1])
    if top_k:
        kept = logits.topk(top_k).values[-1]
        logits = torch.where(logits < kept, -torch.inf, logits)
    borders = (logits / temperature).softmax(0).cumsum(0)
    level = next(i for i, border in enumerate(borders) if uniform < border or i == len(borders) - 1)
    return level, float((borders - uniform).abs().min())


def assert_spoken(w, conditions, uniforms, levels, **options):
    """Each level is the one the twin draws after the same past, or its draw was a near tie."""
    want, gaps = spoken(w, conditions, uniforms, levels, **options)
    assert levels.dtype == torch.int64
    assert ((levels == want) | (gaps < NEAR)).all()
    assert (levels != want).float().mean() < 0.02
    assert len(levels.unique()) > 3


@pytest.mark.parametrize(
    ("dtype", "sampling", "N"),
    [
        (torch.bfloat16, {}, 3),
        (torch.float32, {"temperature": 0.7, "top_k": 5}, 2),
        (torch.bfloat16, {"temperature": 0}, 1),
    ],
)
def test_levels_are_those_of_the_twin(dtype, sampling, N):
    w = weights(dtype=dtype)
    conditions, uniforms = given(w, N, 14)
    levels = decode(w, conditions, uniforms, Past.start(w, N), hop=4, tile=TILE, **sampling)
    assert_spoken(w, conditions, uniforms, levels, hop=4, **sampling)


@pytest.mark.parametrize(
    ("layers", "cycle", "dtype"), [(3, 3, DTYPES[0]), (4, 2, DTYPES[1]), (1, 1, DTYPES[0]), (3, 1, DTYPES[0])]
)
def test_dilations_and_gate_channels_in_chunks(layers, cycle, dtype):
    w = weights(G=32, P=32, layers=layers, cycle=cycle, dtype=dtype)
    conditions, uniforms = given(w, 2, 12, hop=5)
    levels = decode(w, conditions, uniforms, Past.start(w, 2), hop=5, tile=TILE)
    assert_spoken(w, conditions, uniforms, levels, hop=5)


def test_more_utterances_than_a_program_speaks_and_each_as_if_alone():
    w = weights(layers=2)
    conditions, uniforms = given(w, 11, 4)
    levels = decode(w, conditions, uniforms, Past.start(w, 11), hop=4, tile=TILE)
    for n in (7, 10):
        alone = decode(w, conditions[n : n + 1], uniforms[n : n + 1], Past.start(w, 1), hop=4, tile=TILE)
        assert torch.equal(alone[0], levels[n])


def test_going_on_is_as_if_it_had_not_stopped(monkeypatch):
    w = weights(layers=2)
    conditions, uniforms = given(w, 2, 16)
    whole = decode(w, conditions, uniforms, Past.start(w, 2), hop=4, tile=TILE)
    past, pieces = Past.start(w, 2), []
    for first, last in ((0, 4), (4, 12), (12, 16)):
        piece = conditions[:, first // 4 : last // 4]
        pieces.append(decode(w, piece, uniforms[:, first:last], past, hop=4, tile=TILE))
    assert torch.equal(torch.cat(pieces, 1), whole)
    assert past.time == 16
    monkeypatch.setattr("speechvq.kernels.wavenet_triton.RUN", 7)
    assert torch.equal(decode(w, conditions, uniforms, Past.start(w, 2), hop=4, tile=TILE), whole)


def test_extreme_uniform_numbers_draw_possible_levels():
    w = weights(layers=1, cycle=1)
    conditions, uniforms = given(w, 2, 6)
    uniforms[0], uniforms[1] = 0.0, 1.0  # 1 is what rounding to float32 makes of the largest ones
    one = decode(w, conditions, uniforms, Past.start(w, 2), hop=4, top_k=1, tile=TILE)
    greedy = decode(w, conditions, uniforms, Past.start(w, 2), hop=4, temperature=0, tile=TILE)
    assert torch.equal(one, greedy)


def test_a_real_size():
    """The reference's channels, with few layers and samples."""
    w = weights(64, 64, 256, 256, 256, layers=3, cycle=3, dtype=torch.bfloat16)
    conditions, uniforms = given(w, 1, 6)
    levels = decode(w, conditions, uniforms, Past.start(w, 1), hop=4, tile=Tile(8, 32, 8, 2))
    assert_spoken(w, conditions, uniforms, levels, hop=4)
