"""The published rule held to figures of the published code, and to its own loop where figures cannot hold.

The rule makes codes that are copies of each other but for the noise, or for nothing but rounding, so that
in float32 which of them a row takes differs from one correct program to the next. In float64 the published
code agrees to the last figures; in float32 it does when it is given the same choices.
"""

import pytest
import torch

from speechvq.image.folding import fold, unfold
from speechvq.quantize import ResidualQuantizer, Revival, Start

from ..hashfill import hashed
from .test_by_depth import Slow

DIM, DEPTH, STEPS = 16, 4, 6


def stack(size, *, shared, restarts=True, scale=1.0, depth=DEPTH):
    revival = Revival() if restarts else Revival(threshold=0)
    start = Start(by="normal", scale=scale)
    return ResidualQuantizer(
        DIM, size, depth, shared=shared, order="by-depth", start=start, revival=revival
    ).train()


# Run from the published code in float64: 8 x 8 latents of 4 channels, 4 x 4 codes of 4 depths, two
# pictures a step. Before each step torch.manual_seed(step), from which come noise and permutations.
PUBLISHED = {
    (200, True, True): (4824517, 167.757188309301, 0.110332605872445, -123.365237037381, 201.433472877081),
    (20, False, True): (486138, 259.635131600888, 0.296604951857378, -2.71002850877286, 86.7755887574658),
    (20, True, False): (593430, 9.44767178075772, 0.331666235022072, 0.403932205887217, 44.0424438975582),
    (20, False, False): (641244, 9901.58092377662, 9.33375368670819, -9.39937814917558, 9.11491653757058),
}  # fmt: skip
"""By size, shared, restarts: indices times their place, of all steps; of the last step the squared length of
the vectors, the commitment, the sum of the sums, the squared length of the counts."""


@pytest.mark.parametrize(("size", "shared", "restarts"), PUBLISHED)
def test_the_published_figures(size, shared, restarts):
    quantizer = stack(size, shared=shared, restarts=restarts).double()
    for d, book in enumerate(quantizer.codebooks):
        for state in (book.vectors, book.sums):
            state.copy_(hashed(f"codes.{d}", (size, DIM)))
    indices = 0
    for step in range(STEPS):
        z = hashed(f"z.{step}", (2, 4, 8, 8))
        torch.manual_seed(step)
        out = quantizer(fold(z, 2))
        flat = out.indices.reshape(-1)
        indices += int((flat * torch.arange(1, len(flat) + 1)).sum())
    books = quantizer.codebooks
    found = (
        indices,
        unfold(out.vectors, 2).square().sum(),
        out.losses["commitment"] / 0.25,
        torch.stack([book.sums for book in books]).sum(),
        torch.stack([book.counts for book in books]).square().sum(),
    )
    assert [float(x) for x in found] == pytest.approx(PUBLISHED[size, shared, restarts], rel=1e-9)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("size", "count"), [(200, 32), (24, 40)])
def test_in_float32_only_choices_between_equals_are_free(shared, size, count):
    """The quantizer's choices are the nearest up to rounding; given them the loop ends where it does."""
    torch.manual_seed(0)
    quantizer = stack(size, shared=shared)
    books = list(quantizer.codebooks)
    slow = [Slow(book.vectors, restarts=True) for book in books]
    for step in range(STEPS):
        z = torch.randn(1, DIM, count)
        torch.manual_seed(step)
        out = quantizer(z)
        torch.manual_seed(step)
        rows, total = list(z[0].T), torch.zeros(count, DIM)
        for d in range(DEPTH):
            one, chosen = slow[0 if shared else d], out.indices[0, d]
            x_ND, codes_KD = torch.stack(rows).double(), torch.stack(one.codes).double()
            distances = (x_ND[:, None] - codes_KD).square().sum(2)
            excess = distances.gather(1, chosen[:, None])[:, 0] - distances.amin(1)
            assert (excess <= 1e-5 * z[0].T.square().sum(1)).all()
            _, said = one.depth(rows, chosen.tolist())
            rows = [row - code for row, code in zip(rows, said, strict=True)]
            total += torch.stack(said)
        torch.testing.assert_close(out.vectors[0].T, total, rtol=1e-5, atol=1e-5)
        for book, one in zip(books, slow, strict=True):
            torch.testing.assert_close(book.vectors, torch.stack(one.codes), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(book.counts, torch.tensor(one.counts), rtol=1e-5, atol=1e-5)


def test_rows_of_one_first_code_leave_the_same():
    """Where the free choices come from, with as many rows as codes.

    At the first depth all codes begin anew on its rows, which still take the codes that were there. At the
    second, what is left of a row is nearest to the copy of that row, and leaves the first code, negated: the
    third depth is brought the same rows again and again, and begins codes on them.
    """
    z = torch.randn(1, DIM, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def walked(depth):
        torch.manual_seed(0)
        quantizer = stack(40, shared=True, scale=0.01, depth=depth).double()
        first_KD = quantizer.codebooks[0].vectors.clone()
        return quantizer(z), first_KD, quantizer.codebooks[0].vectors

    out, first_KD, _ = walked(2)
    chosen = out.indices[0, 0]
    assert len(chosen.unique()) < len(chosen)
    torch.testing.assert_close((z - out.vectors)[0].T, -first_KD[chosen])
    out, _, codes_KD = walked(3)
    assert torch.pdist(codes_KD).min() < 1e-9
