"""The published rule, by which codebooks learn between the depths: against a loop, and what it does."""

import math

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.quantize import Learning, ResidualQuantizer, Revival, Start

DIM, DEPTH = 4, 3
NORMAL = Start(by="normal")


class Slow:
    """The rule, one vector at a time. ``draw`` chooses the vectors that dead codes begin anew on."""

    def __init__(self, codes, *, restarts):
        self.codes = [row.clone() for row in codes]
        self.sums, self.counts = [row.clone() for row in codes], [0.0] * len(codes)
        self.restarts, self.revived = restarts, 0

    def depth(self, rows, chosen=None):
        """The nearest codes of the rows as they stand, unless ``chosen``, and what the codes become."""
        if chosen is None:
            chosen = [
                min(range(len(self.codes)), key=lambda k: float((r - self.codes[k]).square().sum()))
                for r in rows
            ]
        said = [self.codes[k].clone() for k in chosen]
        for k in range(len(self.codes)):
            mine = [row for row, at in zip(rows, chosen, strict=True) if at == k]
            self.counts[k] = 0.99 * self.counts[k] + 0.01 * len(mine)
            self.sums[k] = 0.99 * self.sums[k] + 0.01 * sum(mine, torch.zeros_like(self.sums[k]))
        if self.restarts:
            drawn = self.draw(rows)
            for k, count in enumerate(self.counts):
                if count < 1:
                    self.sums[k], self.counts[k] = drawn[k].clone(), 1.0
                    self.revived += 1
        n = sum(self.counts)
        for k, count in enumerate(self.counts):
            self.codes[k] = self.sums[k] / (n * (count + 1e-5) / (n + len(self.counts) * 1e-5))
        return chosen, said

    def draw(self, rows):
        """By the same random numbers as the quantizer."""
        x = torch.stack(rows)
        if len(x) < len(self.codes):
            x = torch.cat([x] * math.ceil(len(self.codes) / len(x)))
            x = x + torch.rand_like(x) * 0.01 / x.shape[1] ** 0.5
        return x[torch.randperm(len(x))][: len(self.codes)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("size", "count"), [(20, 7), (6, 40)])
@pytest.mark.parametrize("restarts", [True, False])
def test_the_rule_is_the_loop(shared, size, count, restarts):
    torch.manual_seed(0)
    revival = Revival() if restarts else Revival(threshold=0)
    quantizer = ResidualQuantizer(
        DIM, size, DEPTH, shared=shared, order="by-depth", start=NORMAL, revival=revival
    ).double()
    books = list(quantizer.codebooks)
    slow = [Slow(book.vectors, restarts=restarts) for book in books]
    for step in range(3):
        z = torch.randn(1, DIM, count, dtype=torch.float64)
        torch.manual_seed(step)
        out = quantizer(z)
        torch.manual_seed(step)
        rows, total, error = list(z[0].T), torch.zeros(count, DIM).double(), 0.0
        for one in slow:
            one.revived = 0
        for d in range(DEPTH):
            chosen, said = slow[0 if shared else d].depth(rows)
            assert out.indices[0, d].tolist() == chosen
            rows = [row - code for row, code in zip(rows, said, strict=True)]
            total += torch.stack(said)
            error += float(torch.stack(rows).square().mean()) / DEPTH
        torch.testing.assert_close(out.vectors[0].T, total)
        assert float(out.losses["commitment"]) == pytest.approx(0.25 * error)
        assert out.stats["revived"] == sum(one.revived for one in slow)
        left, spread = (z[0].T - total).square().sum(), (z[0].T - z[0].T.mean(0)).square().sum()
        assert float(out.stats["error"]) == pytest.approx(float(left / spread))
        for book, one in zip(books, slow, strict=True):
            torch.testing.assert_close(book.vectors, torch.stack(one.codes))
            torch.testing.assert_close(book.sums, torch.stack(one.sums))
            assert book.counts.tolist() == pytest.approx(one.counts)


def test_gradients_cross_once_and_evaluation_stands_still():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, 8, DEPTH, shared=True, order="by-depth", start=NORMAL).double()
    z = torch.randn(2, DIM, 9, dtype=torch.float64, requires_grad=True)
    out = quantizer(z)
    (slope,) = torch.autograd.grad(out.vectors.sum(), z)
    assert torch.equal(slope, torch.ones_like(z))
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    said = quantizer.eval()(z)
    assert torch.equal(said.vectors, quantizer.decode(quantizer.encode(z)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())


def test_padding_is_neither_counted_nor_drawn():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(DIM, 16, DEPTH, shared=True, order="by-depth", start=NORMAL)
    z, mask = torch.randn(2, DIM, 9), torch.arange(9) < torch.tensor([[9], [4]])
    z[1, :, 4:] = 1e6
    out = quantizer(z, mask)
    assert (out.indices[1, :, 4:] == -1).all()
    assert not out.vectors[1, :, 4:].any()
    assert out.stats["counts"].sum(1).tolist() == [13] * DEPTH
    (book,) = quantizer.codebooks
    assert book.vectors.abs().max() < 100


SIZE, FEW = 256, 64


@pytest.fixture(scope="module")
def trained():
    """Both rules after 40 steps of a fourth as many vectors as codes: share revived a depth, and errors."""

    def of(order):
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(16, SIZE, 4, shared=True, order=order, start=NORMAL)
        depths = 4 if order == "by-depth" else 1
        stats = [quantizer(torch.randn(1, 16, FEW)).stats for _ in range(40)][-10:]
        revived = sum(float(one["revived"]) for one in stats) / (10 * depths * SIZE)
        told = sum(float(one["error"]) for one in stats) / 10
        return revived, told, float(quantizer.eval()(torch.randn(1, 16, 4000)).stats["error"])

    return {order: of(order) for order in ("pooled", "by-depth")}


def test_few_vectors_churn_the_published_rule_and_not_ours(trained):
    assert trained["by-depth"][0] == pytest.approx(0.8, abs=0.06)
    assert trained["pooled"][0] < 0.05


def test_the_published_rule_looks_far_better_in_training_than_it_is(trained):
    _, told, found = trained["by-depth"]
    assert found > 30 * told
    _, told, found = trained["pooled"]
    assert found < 1.5 * told


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"order": "backwards"}, "cannot learn 'backwards'; choose one of pooled, by-depth"),
        ({"order": "by-depth", "learning": Learning(by="gradient")}, "not by 'gradient'"),
        ({"order": "by-depth", "learning": Learning(by="frozen")}, "not by 'frozen'"),
    ],
)
def test_bad_settings_are_sentences(settings, sentence):
    with pytest.raises(BadSetting, match=sentence):
        ResidualQuantizer(DIM, 8, DEPTH, **settings)


@pytest.mark.parametrize("shared", [True, False])
def test_a_first_batch_without_a_valid_vector_changes_nothing(shared):
    quantizer = ResidualQuantizer(4, 16, 3, shared=shared, order="by-depth", start=Start(by="normal")).train()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(2, 4, 5), torch.zeros(2, 5, dtype=torch.bool))
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name
