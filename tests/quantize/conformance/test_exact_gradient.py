"""The one node of the graph against autograd over the papers' formulas, in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from speechvq.quantize import Chance, GroupedQuantizer, Learning, ResidualQuantizer, Start, VectorQuantizer

DIM, SIZE = 3, 7
NORMAL = Start(by="normal")


def by_formula(quantizer, z, mask, indices, books):
    """(vectors, commitment, codebook) written with sg() as detach(), one depth after the other.

    ``books`` are the leaves; commitment and codebook are means over the walked places and the depths.
    """
    learning, rows = quantizer.learning, z.movedim(1, -1)[mask]
    chosen = indices.movedim(1, -1)[mask]
    left, total, commitment, codebook = rows.detach(), torch.zeros_like(rows), 0.0, 0.0
    depth = chosen.shape[1]
    for v in range(depth):
        walks = (chosen[:, v] >= 0)[:, None]
        code = torch.where(walks, books[v % len(books)][chosen[:, v].clamp(min=0)], 0)
        total = total + code
        commitment = commitment + torch.where(walks, (rows - total.detach()).square(), 0).sum()
        codebook = codebook + torch.where(walks, (left - code).square(), 0).sum()
        left = left - code.detach()
    share = len(rows) * depth * (rows.shape[1] if learning.scaling == "mean" else 1)
    vectors = rows + (total - rows).detach() + learning.synchronised * (total - total.detach())
    return vectors, learning.commitment * commitment / share, codebook / share


@settings(max_examples=40, deadline=None)
@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    depth=st.integers(0, 3),
    shared=st.booleans(),
    scaling=st.sampled_from(["mean", "sum"]),
    share=st.sampled_from([0.0, 0.7]),
    dropout=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_the_node_is_the_formula(grid, depth, shared, scaling, share, dropout, seed):
    """Vectors, both losses, and the gradients of a random mix of them, under a mask."""
    torch.manual_seed(seed)
    learning = Learning(by="gradient", commitment=0.6, scaling=scaling, synchronised=share)
    settings = {"learning": learning, "start": NORMAL}
    if depth:
        chance = Chance(dropout=dropout)
        quantizer = ResidualQuantizer(DIM, SIZE, depth, shared=shared, chance=chance, **settings).double()
        codebooks = quantizer.codebooks
    else:
        quantizer = VectorQuantizer(DIM, SIZE, **settings).double()
        codebooks = [quantizer.codebook]
    books = [book.vectors for book in codebooks]
    z = torch.randn(2, DIM, *grid, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, *grid) < 0.7
    mask.view(-1)[0] = True
    out = quantizer(z, mask)
    wanted = by_formula(quantizer, z, mask, out.indices, books)
    found = (out.vectors.movedim(1, -1)[mask], out.losses["commitment"], out.losses["codebook"])
    mix = [torch.randn_like(part) for part in found]
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
    leaves = [z, *books]
    grads = [
        torch.autograd.grad(
            sum((m * part).sum() for m, part in zip(mix, parts, strict=True)), leaves, allow_unused=True
        )
        for parts in (found, wanted)
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


@pytest.mark.parametrize("estimator", ["straight-through", "rotation"])
def test_gradcheck_of_both_losses(estimator):
    """The losses are smooth while no choice changes: finite differences must give their gradients."""
    learning = Learning(by="gradient", estimator=estimator)
    quantizer = VectorQuantizer(DIM, SIZE, learning=learning, start=NORMAL).double()
    z = torch.randn(1, DIM, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: quantizer(x).losses["commitment"], z)
    codes = quantizer.codebook.vectors
    assert gradcheck(lambda _: quantizer(z.detach()).losses["codebook"], codes)


@pytest.mark.parametrize("form", ["affine", "projected"])
def test_codes_that_are_made_of_others(form):
    """The codebook loss reaches what the codes are made of, as autograd over the making says."""
    from speechvq.quantize import Space

    quantizer = VectorQuantizer(
        DIM, SIZE, space=Space(codes=form), learning=Learning(by="gradient"), start=NORMAL
    ).double()
    book = quantizer.codebook
    with torch.no_grad():
        for p in book.parameters():
            p.add_(0.3 * torch.randn_like(p))
    z = torch.randn(1, DIM, 20, dtype=torch.float64)
    out = quantizer(z)
    found = torch.autograd.grad(out.losses["codebook"], list(book.parameters()))
    made = book.vectors * book.scale + book.shift if form == "affine" else book.vectors @ book.projection
    loss = (z[0].T - made[out.indices[0, 0]]).square().mean()
    torch.testing.assert_close(out.losses["codebook"], loss)
    torch.testing.assert_close(found, torch.autograd.grad(loss, list(book.parameters())))
    torch.testing.assert_close(out.vectors[0].T, made[out.indices[0, 0]].detach())


def test_groups_are_stacks_side_by_side():
    """The same vectors, indices and gradients as each group's stack alone; losses are means over groups."""
    quantizer = GroupedQuantizer(6, SIZE, 2, depth=2, start=NORMAL, learning=Learning(by="gradient")).double()
    z = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    out = quantizer(z)
    parts = [group(part) for group, part in zip(quantizer.groups, z.split(3, 1), strict=True)]
    torch.testing.assert_close(out.vectors, torch.cat([p.vectors for p in parts], 1))
    assert torch.equal(out.indices, torch.cat([p.indices for p in parts], 1))
    for name, loss in out.losses.items():
        torch.testing.assert_close(loss, sum(p.losses[name] for p in parts) / 2)
    (found,) = torch.autograd.grad(sum(out.losses.values()) + out.vectors.sin().sum(), z)
    twin = sum(sum(p.losses.values()) / 2 + p.vectors.sin().sum() for p in parts)
    torch.testing.assert_close(found, torch.autograd.grad(twin, z)[0])
