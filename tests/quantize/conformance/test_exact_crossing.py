"""How gradients cross: every kind, the rotation as explicit matrices, two forwards before one backward."""

import pytest
import torch

from speechvq.quantize import Chance, Learning, ResidualQuantizer, Space, Start, VectorQuantizer

DIM = 6
NORMAL = Start(by="normal")


def test_the_gradient_crosses_the_choice(kind):
    """Unchanged in the space of the codes; a linear layer or a norm on the way counts as what it is.

    The rotation trick scales it by |q| / |z|; it is held to its matrices elsewhere.
    """
    quantizer = kind()
    z = torch.randn(2, DIM, 20, requires_grad=True)
    cotangent = torch.randn(2, DIM, 20)
    codes = [p for name, p in quantizer.named_parameters() if "passage" not in name]
    out = quantizer(z).vectors
    found, *rest = torch.autograd.grad((out * cotangent).sum(), [z, *codes], allow_unused=True)
    assert all(g is None for g in rest)
    if kind.name == "vector-rotation":
        longer = out.norm(dim=1) / z.norm(dim=1)
        torch.testing.assert_close(found.norm(dim=1), longer * cotangent.norm(dim=1))
    elif kind.linear or "cosine" in kind.name:
        passed = quantizer.passage.out(quantizer.passage.into(z.movedim(1, -1).flatten(0, 1)))
        (wanted,) = torch.autograd.grad((passed * cotangent.movedim(1, -1).flatten(0, 1)).sum(), z)
        torch.testing.assert_close(found, wanted)
    else:
        assert torch.equal(found, cotangent)


def test_two_forwards_before_one_backward(any_kind):
    """Their gradients add, though the codebook has moved on before they are taken."""
    batches = [torch.randn(2, DIM, 15, requires_grad=True) for _ in range(2)]

    def loss(quantizer, z):
        out = quantizer(z)
        return out.vectors.sin().sum() + sum(out.losses.values())

    torch.manual_seed(3)
    together = any_kind()
    sum(loss(together, z) for z in batches).backward()
    wanted = [z.grad for z in batches]
    for z in batches:
        z.grad = None
    torch.manual_seed(3)
    apart = any_kind()
    for z in batches:
        loss(apart, z).backward()
    for z, grad in zip(batches, wanted, strict=True):
        torch.testing.assert_close(z.grad, grad)
    for p, q in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_dropped_depths_and_padding():
    """Under dropout a padded place has no code at all, and the rest of an item one number of depths."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, 12, 4, chance=Chance(dropout=1.0), start=Start(by="normal"))
    z, mask = torch.randn(200, DIM, 5), torch.rand(200, 5) < 0.7
    out = quantizer(z, mask)
    depths = (out.indices >= 0).sum(1)
    assert (depths[~mask] == 0).all()
    deepest = depths.amax(1, keepdim=True).expand_as(mask)
    assert torch.equal(depths[mask], deepest[mask])
    assert set(depths[mask].tolist()) == {1, 2, 3, 4}
    assert torch.equal(out.stats["counts"].sum(1), (out.indices >= 0).sum((0, 2)).float())


def rotation_onto(y, q):
    """R = I - 2 r r' + 2 q^ y^' (Fifty et al. 2024, section 4.2), as a D x D matrix."""
    y, q = y / y.norm(), q / q.norm()
    r = (y + q) / (y + q).norm()
    return torch.eye(len(y), dtype=y.dtype) - 2 * torch.outer(r, r) + 2 * torch.outer(q, y)


@pytest.mark.parametrize("depth", [0, 3])
def test_rotation_is_its_matrices(depth):
    """R turns y onto q and keeps lengths and angles; the gradient is that of (|q| / |y|) R y, R constant."""
    settings = {"learning": Learning(estimator="rotation"), "start": NORMAL}
    quantizer = (
        ResidualQuantizer(DIM, 12, depth, **settings) if depth else VectorQuantizer(DIM, 12, **settings)
    ).double()
    z = torch.randn(1, DIM, 25, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn_like(z)
    out = quantizer(z)
    (found,) = torch.autograd.grad((out.vectors * cotangent).sum(), z)
    rows = zip(z[0].T.detach(), out.vectors[0].T.detach(), cotangent[0].T, found[0].T, strict=True)
    for y, q, g, dz in rows:
        R = rotation_onto(y, q)
        eye = torch.eye(DIM, dtype=R.dtype)
        torch.testing.assert_close(R @ R.T, eye)
        torch.testing.assert_close(R @ y * q.norm() / y.norm(), q)
        torch.testing.assert_close(dz, q.norm() / y.norm() * (R.T @ g))


def test_rotation_of_nothing_passes_the_gradient():
    """A vector or a code of length zero has no direction to turn."""
    quantizer = VectorQuantizer(2, 2, learning=Learning(estimator="rotation"), start=NORMAL)
    quantizer.codebook.restart(torch.tensor([[0.0, 0], [5, 5]]))
    z = torch.tensor([[0.0, 0], [0.1, 0], [5, 5]]).T[None].clone().requires_grad_()
    cotangent = torch.randn(1, 2, 3)
    (found,) = torch.autograd.grad((quantizer(z).vectors * cotangent).sum(), z)
    torch.testing.assert_close(found, cotangent)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_way_in_and_out(metric):
    """y = A z + a, of length one if cosine; nearest code c of it; B c + b: with gradients for all four."""
    quantizer = VectorQuantizer(DIM, 12, space=Space(dim=3, metric=metric), start=NORMAL).double().eval()
    codes, way = quantizer.codebook.vectors.clone(), quantizer.passage
    z = torch.randn(1, DIM, 30, dtype=torch.float64, requires_grad=True)
    leaves = [z, *way.parameters()]
    out = quantizer(z)
    y = z[0].T @ way.project_in.weight.T + way.project_in.bias
    y = y / y.norm(dim=1, keepdim=True) if metric == "cosine" else y
    chosen = codes[torch.cdist(y, codes).argmin(1)]
    vectors = (y + (chosen - y).detach()) @ way.project_out.weight.T + way.project_out.bias
    commitment = 0.25 * (y - chosen).square().mean()
    torch.testing.assert_close(out.vectors[0].T, vectors)
    torch.testing.assert_close(out.losses["commitment"], commitment)
    torch.testing.assert_close(quantizer.decode(out.indices), out.vectors)
    found = torch.autograd.grad(out.vectors.sin().sum() + out.losses["commitment"], leaves)
    torch.testing.assert_close(found, torch.autograd.grad(vectors.sin().sum() + commitment, leaves))
