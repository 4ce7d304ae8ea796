"""FSQ: the paper's numbers and formula, exact indices, gradients."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.quantize.scalar import FSQ

LEVELS = [(8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 6, 5), (8, 6, 5), (2, 3, 4), (2,), (17, 300)]
DIM = 5


def slow_fsq(levels, z):
    """The paper's appendix, channel by channel in double: (code, index) of one vector."""
    code, index, place = [], 0, 1
    for value, n in zip(z, levels, strict=True):
        half = (n - 1) * (1 - 1e-3) / 2
        offset = 0.0 if n % 2 else 0.5
        bounded = math.tanh(value + math.tan(offset / half)) * half - offset
        whole = round(bounded)
        code.append(whole / (n // 2))
        index += (whole + n // 2) * place
        place *= n
    return code, index


def middles(levels):
    """Vectors (1, C, K) that lie in the middle of each cell of an FSQ: f(z) is the code's whole number."""
    K, C = math.prod(levels), len(levels)
    index, channels = torch.arange(K), []
    for n in levels:
        half, offset = (n - 1) * (1 - 1e-3) / 2, 0.0 if n % 2 else 0.5
        whole = (index % n - n // 2).double()
        inside = ((whole + offset) / half).clamp(-0.999, 0.999)
        channels.append(inside.atanh() - math.tan(offset / half))
        index = index // n
    return torch.stack(channels).float().reshape(1, C, K)


@pytest.mark.parametrize(
    ("levels", "size"),
    [((8, 6, 5), 240), ((8, 5, 5, 5), 1000), ((7, 5, 5, 5, 5), 4375), ((8, 8, 8, 6, 5), 15360)]
    + [((8, 8, 8, 5, 5, 5), 64000)],
)
def test_sizes_of_the_paper(levels, size):
    assert FSQ(levels).codebook_size == size


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_index_of_fsq_goes_round(levels, autocast):
    quantizer = FSQ(levels)
    indices = torch.arange(quantizer.codebook_size)[None, None]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        codes = quantizer.decode(indices)
        assert codes.dtype == torch.float32
        assert torch.equal(quantizer.indices_of(codes), indices)
        assert torch.equal(quantizer.indices_of(codes.bfloat16()), indices)
        assert torch.equal(quantizer.encode(middles(levels)), indices)
        out = quantizer(middles(levels))
    assert torch.equal(out.indices, indices)
    assert torch.equal(out.vectors, codes)
    assert len(codes[0].T.unique(dim=0)) == quantizer.codebook_size
    assert codes.min() == -1
    assert codes.max() <= 1


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (7, 5, 5, 5, 5), (8, 8, 8, 6, 5)])
def test_half_precision_reaches_every_code(levels):
    """In half precision whole numbers above 256 run together; indices must not be made in it."""
    quantizer = FSQ(levels).bfloat16()
    out = quantizer(middles(levels).bfloat16())
    assert torch.equal(out.indices[0, 0], torch.arange(quantizer.codebook_size))
    assert out.vectors.dtype == torch.bfloat16
    assert torch.equal(quantizer.indices_of(out.vectors), out.indices)


@settings(max_examples=40, deadline=None)
@given(levels=st.lists(st.integers(2, 9), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_fsq_is_the_papers_formula(levels, seed):
    z = torch.randn(3, len(levels), generator=torch.Generator().manual_seed(seed)) * 2
    out = FSQ(tuple(levels))(z)
    for vector, code, index in zip(z, out.vectors, out.indices, strict=True):
        slow_code, slow_index = slow_fsq(levels, vector.tolist())
        assert index.item() == slow_index
        torch.testing.assert_close(code, torch.tensor(slow_code))


def test_zero_is_the_middle():
    """The shift's purpose: f(0) = 0 for even numbers of levels, too (nearly: the paper's is a tangent)."""
    assert FSQ((8, 5, 6, 7)).bound(torch.zeros(4)).abs().max() < 1e-3


def test_gradient_of_fsq_is_that_of_the_bound():
    levels = (8, 5, 4, 3)
    quantizer = FSQ(levels)
    z = torch.randn(2, 4, 9, requires_grad=True)
    cotangent = torch.randn(2, 4, 9)
    (got,) = torch.autograd.grad((quantizer(z).vectors * cotangent).sum(), z)
    n = torch.tensor(levels)[:, None].float()
    half, offset = (n - 1) * (1 - 1e-3) / 2, (n % 2 == 0) * 0.5
    slope = (1 - (z + (offset / half).tan()).tanh() ** 2) * half / (n // 2)
    torch.testing.assert_close(got, cotangent * slope)


def test_gradients_of_the_maps_around_fsq():
    """Against the same formula written with plain layers, rounding as a constant."""
    quantizer = FSQ((8, 6, 5), dim=DIM)
    z, cotangent = torch.randn(6, DIM), torch.randn(6, DIM)
    (quantizer(z).vectors * cotangent).sum().backward()
    got = {k: p.grad.clone() for k, p in quantizer.named_parameters()}
    quantizer.zero_grad()
    bounded = quantizer.bound(quantizer.project_in(z))
    codes = (bounded + (bounded.round() - bounded).detach()) / torch.tensor([4, 3, 2])
    (quantizer.project_out(codes) * cotangent).sum().backward()
    torch.testing.assert_close(got, {k: p.grad for k, p in quantizer.named_parameters()})


def test_levels_are_part_of_the_weights():
    """Else two codecs whose indices mean different things would have equal weights."""
    state = FSQ((8, 5)).state_dict()
    assert state["levels"].tolist() == [8, 5]
    with pytest.raises(BadSetting, match=r"levels \(8, 5\), but this one has \(5, 8\)"):
        FSQ((5, 8)).load_state_dict(state)


def test_neighbouring_codes_differ_in_one_channel():
    """Mixed radix, the first channel lowest: the order that the paper's basis gives."""
    codes = FSQ((3, 4, 2)).decode(torch.arange(24)[None, None])[0].T
    grids = [torch.arange(n) - n // 2 for n in (3, 4, 2)]
    slow = [
        [c / (n // 2) for c, n in zip(row[::-1], (3, 4, 2), strict=True)]
        for row in itertools.product(*(g.tolist() for g in grids[::-1]))
    ]
    torch.testing.assert_close(codes, torch.tensor(slow))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FSQ(()), "a whole number from 2 for every channel"),
        (lambda: FSQ((8, 1)), r"levels are \(8, 1\)"),
        (lambda: FSQ((2.5, 4)), "whole number from 2"),
        (lambda: FSQ((2,) * 31), "make 2147483648 codes; indices must be below 2\\^31"),
        (lambda: FSQ((8, 5), dim=0), "dim is 0"),
    ],
)
def test_wrong_settings_are_sentences(make, sentence):
    with pytest.raises(BadSetting, match=sentence):
        make()
