"""Checks of padding: what a mask hides does nothing, whatever the quantizer's shape."""

import torch


def padded(d=8):
    """(x with rubbish in the padding, mask, the bare vectors (1, n, d))."""
    x, mask = torch.randn(3, 20, d), torch.arange(20) < torch.tensor([20, 7, 13])[:, None]
    x[~mask] = 50.0
    return x, mask, x[mask][None]


def assert_masked_is_dropped(make, **plan):
    x, mask, bare = padded()
    one, other = make(**plan), make(**plan)
    for _ in range(3):
        vectors, indices, loss = one(x, mask)
        wanted, listed, cost = other(bare)
        assert torch.equal(indices[mask], listed[0])
        torch.testing.assert_close(vectors[mask], wanted[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(loss, cost, atol=1e-5, rtol=1e-5)
        assert (vectors[~mask] == 0).all()
        assert (indices[~mask] == -1).all()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], atol=1e-5, rtol=1e-5)


def test_masked_is_dropped(make):
    assert_masked_is_dropped(make)


def test_masked_is_dropped_with_projections(make):
    assert_masked_is_dropped(make, width=4)


def test_masked_is_dropped_with_heads(make):
    assert_masked_is_dropped(make, heads=2)


def test_a_true_mask_is_no_mask_with_cosine_similarity(make):
    x = torch.randn(2, 40, 8)
    with_mask = make(cosine=True)(x, torch.ones(2, 40, dtype=torch.bool))
    without = make(cosine=True)(x)
    for a, b in zip(with_mask, without, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_batch_of_padding_only_is_finite(make):
    side = make()
    vectors, _, loss = side(torch.randn(2, 20, 8), torch.zeros(2, 20, dtype=torch.bool))
    assert (vectors == 0).all()
    assert loss.isfinite()
    assert all(t.isfinite().all() for t in side.state_dict().values())
