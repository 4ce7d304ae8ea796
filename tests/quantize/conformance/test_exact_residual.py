"""Residual stacks: the worked example, the promises that hold, and one that needs a zero code."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvq.errors import BadSetting
from speechvq.quantize import Chance, Learning, ResidualQuantizer, Revival, Space, Start, VectorQuantizer

DIM, SIZE, DEPTH = 4, 8, 4
NORMAL = Start(by="normal")


def stack(depth=DEPTH, **settings):
    torch.manual_seed(0)
    return ResidualQuantizer(DIM, SIZE, depth, start=NORMAL, **settings).double()


def test_worked_example():
    """Four codes shared by three depths, z = (.9, .4); the error rises at the third depth."""
    codes = torch.tensor([[1.0, 0], [0, 1], [-1, -1], [0.25, 0.25]]).double()
    errors = [0.17, 0.145, 0.37]
    for scaling, wanted in (("mean", sum(errors) / 3 / 2), ("sum", sum(errors) / 3)):
        learning = Learning(commitment=1.0, scaling=scaling)
        quantizer = ResidualQuantizer(2, 4, 3, shared=True, start=NORMAL, learning=learning).double()
        quantizer.codebooks[0].restart(codes)
        z = torch.tensor([0.9, 0.4]).double()[None, :, None]
        out = quantizer.eval()(z)
        assert out.indices.flatten().tolist() == [0, 3, 3]
        torch.testing.assert_close(out.losses["commitment"], torch.tensor(wanted).double(), atol=1e-7, rtol=0)
        for k, (partial, error) in enumerate(zip([(1, 0), (1.25, 0.25), (1.5, 0.5)], errors, strict=True), 1):
            decoded = quantizer.decode(out.indices[:, :k]).flatten()
            assert decoded.tolist() == list(partial)
            assert float((z.flatten() - decoded).square().sum()) == pytest.approx(error, abs=1e-7)


def test_a_stack_of_one_is_vector_quantization():
    for by in ("ema", "gradient"):
        learning = Learning(by=by)
        one = ResidualQuantizer(DIM, SIZE, 1, start=NORMAL, learning=learning)
        plain = VectorQuantizer(DIM, SIZE, start=NORMAL, learning=learning)
        plain.codebook.load_state_dict(one.codebooks[0].state_dict())
        for _ in range(3):
            z = torch.randn(2, DIM, 30)
            a, b = one(z), plain(z)
            assert torch.equal(a.indices, b.indices)
            assert torch.equal(a.vectors, b.vectors)
            torch.testing.assert_close(a.losses, b.losses, atol=0, rtol=0)
            torch.testing.assert_close(a.stats, b.stats, atol=0, rtol=0)
        assert torch.equal(one.codebooks[0].vectors, plain.codebook.vectors)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("space", [Space(), Space(dim=3)])
def test_codes_of_a_shorter_stack_are_the_first_codes(shared, space):
    whole = stack(shared=shared, space=space)
    z = torch.randn(2, DIM, 25, dtype=torch.float64)
    indices = whole.encode(z)
    for depth in range(1, DEPTH + 1):
        short = stack(depth, shared=shared, space=space)
        short.load_state_dict({k: v for k, v in whole.state_dict().items() if k in short.state_dict()})
        assert torch.equal(short.encode(z), indices[:, :depth])
        torch.testing.assert_close(short.decode(indices[:, :depth]), whole.decode(indices[:, :depth]))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 3), seed=st.integers(0, 99), shared=st.booleans())
def test_with_a_zero_code_the_error_never_rises(scale, seed, shared):
    quantizer = stack(shared=shared).eval()
    generator = torch.Generator().manual_seed(seed)
    for book in quantizer.codebooks:
        codes = torch.randn(SIZE, DIM, generator=generator).double()
        codes[seed % SIZE] = 0
        book.restart(codes)
    z = scale * torch.randn(1, DIM, 40, generator=generator).double()
    indices = quantizer.encode(z)
    errors = [(z - quantizer.decode(indices[:, :k])).square().sum(1) for k in range(1, DEPTH + 1)]
    errors.insert(0, z.square().sum(1))
    for before, after in zip(errors, errors[1:], strict=False):
        assert (after <= before + 1e-12).all()


def test_without_one_it_may():
    """Codes 1 and -1, z = .2: what is left is .8, .2 and .8 long."""
    quantizer = ResidualQuantizer(1, 2, 3, shared=True, start=NORMAL).double().eval()
    quantizer.codebooks[0].restart(torch.tensor([[1.0], [-1.0]]).double())
    z = torch.full((1, 1, 1), 0.2).double()
    indices = quantizer.encode(z)
    left = [float((z - quantizer.decode(indices[:, :k])).abs()) for k in (1, 2, 3)]
    assert left == pytest.approx([0.8, 0.2, 0.8])


def test_a_shared_codebook_is_held_once():
    """Also in a copy, a pickle and the state, and it goes on learning from all depths there."""
    quantizer = stack(shared=True)
    for other in (quantizer, copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer))):
        assert sum(v.numel() for k, v in other.state_dict().items() if k.endswith("vectors")) == SIZE * DIM
        z = torch.randn(1, DIM, 30, generator=torch.Generator().manual_seed(2)).double()
        other(z)
        assert float(other.codebooks[0].counts.sum()) == pytest.approx(0.99 * SIZE + 0.01 * 30 * DEPTH)


@pytest.mark.parametrize("ratio", [0.25, 1, 4])
def test_training_and_evaluation_tell_the_same_error(ratio):
    """Codes that moved while the depths are walked would look far better in training than they are."""
    quantizer = ResidualQuantizer(
        DIM, 64, DEPTH, shared=True, start=Start(by="data"), revival=Revival(decay=0.9)
    )
    for _ in range(60):
        z = torch.randn(4, DIM, int(64 * ratio / 4))
        error = quantizer(z).stats["error"]
    fresh = quantizer.eval()(torch.randn(4, DIM, 2000)).stats["error"]
    assert float(error / fresh) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize(
    ("least", "multiple", "allowed"), [(1, 1, {1, 2, 3, 4}), (2, 1, {2, 3, 4}), (1, 2, {2, 4})]
)
def test_dropout_leaves_what_it_says(least, multiple, allowed):
    """Every allowed depth about equally often, and every depth kept by the items that do not drop."""
    quantizer = stack(chance=Chance(dropout=0.6, least=least, multiple=multiple))
    z = torch.randn(3000, DIM, 1, dtype=torch.float64)
    depths = (quantizer(z).indices >= 0).sum(1).flatten()
    assert set(depths.tolist()) == allowed
    drawn = [-(-d // multiple) * multiple for d in range(least, DEPTH + 1)]
    for depth in allowed:
        share = 0.6 * drawn.count(depth) / len(drawn) + 0.4 * (depth == DEPTH)
        assert float((depths == depth).double().mean()) == pytest.approx(share, abs=0.05)
    assert (quantizer.eval()(z).indices >= 0).all()
    assert (quantizer.train().encode(z) >= 0).all()


def test_dropout_cannot_leave_more_depths_than_there_are():
    with pytest.raises(BadSetting, match="at least 5 depths, but there are 4: lower chance.least"):
        stack(chance=Chance(dropout=0.5, least=5))
