"""What every quantizer promises: shapes, inverses, gradients, masks, state."""

import copy
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize import QUANTIZERS, Quantizer, Start
from speechvq.table import plain

DIM = 6
GRIDS = [(), (7,), (3, 4), (2, 3, 4)]


def equal_states(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("training", [True, False])
def test_shapes_and_inverse(any_kind, grid, training):
    """Where codes are left to chance (dropped depths, draws), those that there are decode to the vectors."""
    quantizer = any_kind().train(training)
    before = copy.deepcopy(quantizer)
    z = torch.randn(2, DIM, *grid)
    out = quantizer(z)
    assert out.vectors.shape == z.shape
    assert out.vectors.dtype == z.dtype
    assert out.indices.shape == (2, quantizer.num_codebooks, *grid)
    assert out.indices.dtype == torch.int64
    chosen = out.indices if any_kind.by_chance and training else before.encode(z)
    assert torch.equal(chosen, out.indices)
    if not (any_kind.by_chance and training):
        assert (out.indices >= 0).all()
    assert torch.equal(before.decode(out.indices), out.vectors)
    assert out.stats["counts"].shape == (quantizer.num_codebooks, quantizer.codebook_size)
    used = (out.indices >= 0).movedim(1, 0).flatten(1).sum(1)
    assert torch.equal(out.stats["counts"].sum(1), used.float())
    assert out.stats["counts"].sum(1)[0] == z.numel() / DIM
    assert 1 <= out.stats["perplexity"] <= quantizer.codebook_size
    assert 0 < out.stats["usage"] <= 1
    assert not any(figure.requires_grad for figure in out.stats.values())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(0, 3), grid=st.lists(st.integers(1, 4), max_size=3), dim=st.integers(1, 6))
def test_any_grid_is_the_same_vectors(any_kind, batch, grid, dim):
    quantizer = any_kind(dim=dim).eval()
    z = torch.randn(batch, dim, *grid)
    flat = z.flatten(2) if grid else z[..., None]
    out = quantizer(z)
    assert torch.equal(out.indices.reshape(quantizer.encode(flat).shape), quantizer.encode(flat))
    assert all(loss.isfinite() for loss in out.losses.values())


@pytest.mark.parametrize("grid", [(9,), (4, 3), (2, 3, 3)])
@pytest.mark.parametrize("start", ["normal", "data", "kmeans"])
def test_padding_changes_nothing(kind, grid, start, state_of):
    """A padded batch with a mask does to everything what the bare vectors do."""
    if kind.by_chance:
        pytest.skip("two batches draw differently; see test_dropped_depths_and_padding")
    torch.manual_seed(1)
    z = torch.randn(2, DIM, *grid)
    mask = torch.rand(2, *grid) < 0.6
    mask[0].view(-1)[0] = True
    z.movedim(1, -1)[~mask] = float("nan")
    bare = z.movedim(1, -1)[mask].T[None].contiguous()
    padded, alone = (kind(start=Start(by=start, iterations=2)) for _ in range(2))
    padded_z, alone_z = z.clone().requires_grad_(), bare.clone().requires_grad_()
    for step in range(3):
        a, b = padded(padded_z, mask), alone(alone_z)
        where = mask[:, None].expand_as(a.indices)
        assert (a.indices[~where] == -1).all()
        assert (a.vectors.movedim(1, -1)[~mask] == 0).all()
        assert torch.equal(a.indices.movedim(1, -1)[mask].T[None], b.indices), step
        # A linear layer or a norm may round otherwise in another number of rows.
        slack = 1e-6 if kind.linear or "cosine" in kind.name else 0
        torch.testing.assert_close(a.vectors.movedim(1, -1)[mask].T[None], b.vectors, atol=slack, rtol=slack)
        torch.testing.assert_close(a.losses, b.losses)
        torch.testing.assert_close(a.stats, b.stats, atol=1e-5, rtol=1e-5)
    (a.vectors.sum() + sum(a.losses.values())).backward()
    (b.vectors.sum() + sum(b.losses.values())).backward()
    torch.testing.assert_close(padded_z.grad.movedim(1, -1)[mask].T[None], alone_z.grad)
    assert (padded_z.grad.movedim(1, -1)[~mask] == 0).all()
    torch.testing.assert_close(state_of(padded), state_of(alone))
    assert torch.equal(padded.decode(a.indices), padded.decode(a.indices) * mask[:, None])


def test_a_true_mask_is_no_mask(any_kind, state_of):
    z = torch.randn(2, DIM, 20)
    with_mask, without = any_kind(), any_kind()
    for seed in range(2):
        torch.manual_seed(seed)
        a = with_mask(z, torch.ones(2, 20, dtype=torch.bool))
        torch.manual_seed(seed)
        b = without(z)
    assert torch.equal(a.indices, b.indices)
    torch.testing.assert_close(a.losses, b.losses)
    assert equal_states(state_of(with_mask), state_of(without))


@pytest.mark.parametrize("start", ["normal", "kmeans"])
def test_a_batch_of_padding_only(any_kind, start):
    quantizer = any_kind(start=Start(by=start))
    out = quantizer(torch.randn(2, DIM, 6), torch.zeros(2, 6, dtype=torch.bool))
    assert (out.indices == -1).all()
    assert (out.vectors == 0).all()
    assert all(loss == 0 for loss in out.losses.values())
    assert all(figure.isfinite().all() for figure in out.stats.values())
    assert all(t.isfinite().all() for t in quantizer.state_dict().values())


@pytest.mark.parametrize("start", ["normal", "kmeans"])
def test_eval_leaves_every_bit(any_kind, start, state_of):
    quantizer = any_kind(start=Start(by=start)).eval()
    before = state_of(quantizer)
    for _ in range(3):
        quantizer(torch.randn(2, DIM, 30), torch.rand(2, 30) < 0.5)
    assert equal_states(before, state_of(quantizer))
    quantizer.train()
    quantizer.encode(torch.randn(2, DIM, 30))
    assert equal_states(before, state_of(quantizer))


@pytest.mark.parametrize("start", ["normal", "kmeans"])
def test_stopped_and_resumed_is_uninterrupted(any_kind, start, state_of):
    """Also in the middle of collecting vectors for k-means (12 codes want 120 of them)."""
    batches = [torch.randn(2, DIM, 25) for _ in range(5)]
    for stop in (1, 3, 4):
        first, second = (any_kind(start=Start(by=start, iterations=2), seed=seed) for seed in (0, 7))
        for z in batches[:stop]:
            torch.manual_seed(3)
            first(z)
        second.load_state_dict(state_of(first))
        twin, thawed = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
        for z in batches[stop:]:
            for quantizer in (first, second, twin, thawed):
                torch.manual_seed(3)
                quantizer(z)
        for other in (second, twin, thawed):
            assert equal_states(state_of(first), state_of(other))


def test_deepcopy_is_apart(any_kind, state_of):
    quantizer = any_kind()
    before = state_of(quantizer)
    copy.deepcopy(quantizer)(torch.randn(2, DIM, 40))
    assert equal_states(before, state_of(quantizer))


def test_codes_are_parameters_only_when_learned_by_gradient(kind):
    quantizer = kind()
    by_gradient = quantizer.learning.by == "gradient"
    parameters = [name for name, _ in quantizer.named_parameters() if "passage.project" not in name]
    assert bool(parameters) == by_gradient
    assert kind.linear == any("passage.project" in name for name, _ in quantizer.named_parameters())
    losses = quantizer(torch.randn(2, DIM, 30)).losses
    assert set(losses) == ({"commitment", "codebook"} if by_gradient else {"commitment"})


def test_autocast_and_half_modules_keep_float32_state(any_kind, state_of):
    z = torch.randn(2, DIM, 30)
    plain_one, cast = any_kind(), any_kind()
    torch.manual_seed(3)
    a = plain_one(z)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        b = cast(z)
    assert torch.equal(a.indices, b.indices)
    torch.testing.assert_close(a.losses, b.losses, atol=0, rtol=0)
    assert equal_states(state_of(plain_one), state_of(cast))
    half = any_kind(start=Start(by="kmeans")).to(torch.bfloat16)
    out = half(z.bfloat16())
    assert out.vectors.dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 for loss in out.losses.values())
    floats = [t for t in half.state_dict().values() if t.is_floating_point()]
    assert all(t.dtype == torch.float32 for t in floats)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_activations_teach_once(any_kind, reentrant, state_of):
    z = torch.randn(2, DIM, 30, requires_grad=True)
    once, recomputed = any_kind(), any_kind()
    torch.manual_seed(5)
    once(z.detach())
    torch.manual_seed(5)
    out = checkpoint(lambda x: recomputed(x).vectors.sin(), z, use_reentrant=reentrant)
    out.sum().backward()
    assert equal_states(state_of(once), state_of(recomputed))


def test_a_broken_vector_does_not_break_the_codebook(any_kind):
    quantizer = any_kind()
    z = torch.randn(2, DIM, 30)
    z[0, 1, 3], z[1, 0, 2] = float("nan"), float("inf")
    for _ in range(3):
        quantizer(z)
    assert all(t.isfinite().all() for t in quantizer.state_dict().values())


def test_made_again_from_its_spec(any_kind):
    quantizer = any_kind(start=Start(by="uniform", scale=0.5))
    again = QUANTIZERS.build(plain(quantizer.spec))
    assert isinstance(again, Quantizer)
    assert again.spec == quantizer.spec
    again.load_state_dict(quantizer.state_dict())


def test_wrong_shapes_are_sentences(any_kind):
    quantizer = any_kind()
    with pytest.raises(BadSetting, match=r"takes \(batch, 6, \*grid\), but got \(2, 4, 7\)"):
        quantizer(torch.randn(2, 4, 7))
    with pytest.raises(BadSetting, match=r"mask is \(2, 6\).*must be \(2, 7\)"):
        quantizer(torch.randn(2, 6, 7), torch.ones(2, 6, dtype=torch.bool))
    with pytest.raises(BadCodes, match="use the codec that made them"):
        quantizer.decode(torch.zeros(2, 4, 7, dtype=torch.int64))
