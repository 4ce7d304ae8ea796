"""Checks of losses and gradients, each against the paper's formula."""

import torch


def gradients(side, x, cotangent):
    """Of <vectors, cotangent>: for x, and for the parameters that it reaches."""
    leaves = [x, *side.parameters()]
    return torch.autograd.grad((side(x)[0] * cotangent).sum(), leaves, allow_unused=True)


def test_straight_through_is_the_identity(make):
    x, cotangent = torch.randn(2, 30, 8, requires_grad=True), torch.randn(2, 30, 8)
    torch.testing.assert_close(gradients(make(), x, cotangent)[0], cotangent, atol=1e-6, rtol=0)


def test_commitment_and_its_gradient(make):
    """beta mean |x - sg(e)|^2, whose gradient is 2 beta (x - e) / (N D)."""
    side, codes = make(commitment=0.5), torch.randn(16, 8)
    side.set_codebook(codes)
    x = torch.randn(2, 30, 8, requires_grad=True)
    _, indices, loss = side(x)
    left = x.detach() - codes[indices[..., 0]]
    torch.testing.assert_close(loss.detach(), 0.5 * left.square().mean())
    (found,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(found, 0.5 * 2 * left / left.numel())


def test_no_gradient_reaches_codes_that_follow_averages(make):
    side = make()
    x = torch.randn(2, 30, 8, requires_grad=True)
    vectors, _, loss = side(x)
    (vectors.sum() + loss).backward()
    assert side.codebook().grad is None
    assert not side.codebook().requires_grad


def test_the_exact_gradient_reaches_learned_codes(make):
    """That of mean |sg(x) - e|^2: 2 (n_k e_k - s_k) / (N D); with beta = 1 nobody's weights differ."""
    side, codes = make(learnable=True, commitment=1.0), torch.randn(16, 8)
    with torch.no_grad():
        side.codebook().copy_(codes)
    x = torch.randn(2, 30, 8, requires_grad=True)
    _, indices, loss = side(x)
    wanted = torch.zeros(16, 8)
    wanted.index_add_(0, indices.flatten(), (codes[indices[..., 0]] - x.detach()).flatten(0, 1))
    leaf = side.book().vectors if make.side == "ours" else side.book().embed
    (found,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(found.reshape(16, 8), 2 * wanted / x.numel())
