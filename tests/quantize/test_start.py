"""Starts: the ranges of the random ones, Lloyd's algorithm against a loop, and the collection."""

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.quantize import GroupedQuantizer, Learning, ResidualQuantizer, Start, VectorQuantizer
from speechvq.quantize.start import drawn, fit, kmeans, seeded


def inertia(x, codes):
    return float((torch.cdist(x.double(), codes.double()).min(1).values ** 2).sum())


def lloyd_by_loop(x, codes, iterations):
    """The slow obvious twin; for data that leaves no code without vectors."""
    codes = codes.clone()
    for _ in range(iterations):
        owner = [int(((vector - codes) ** 2).sum(1).argmin()) for vector in x]
        for k in range(len(codes)):
            codes[k] = torch.stack([vector for vector, o in zip(x, owner, strict=True) if o == k]).mean(0)
    return codes


def blobs(count, each, dim=3, spread=0.05):
    centres = torch.randn(count, dim) * 5
    return (centres[:, None] + spread * torch.randn(count, each, dim)).reshape(-1, dim), centres


def test_random_starts():
    torch.manual_seed(0)
    normal = VectorQuantizer(64, 500, start=Start(by="normal", scale=0.1)).codebook.vectors
    assert float(normal.std()) == pytest.approx(0.1, rel=0.02)
    uniform = VectorQuantizer(64, 500, start=Start(by="uniform")).codebook.vectors
    assert float(uniform.abs().max()) == pytest.approx(1 / 500, rel=0.01)
    assert float(VectorQuantizer(64, 500, start=Start(by="uniform", scale=3)).codebook.vectors.max()) > 2.9


def test_kmeans_equals_the_loop():
    torch.manual_seed(0)
    x = torch.randn(200, 3, dtype=torch.float64)
    codes = x[:7]
    found = kmeans(x, codes, iterations=6, generator=seeded())
    torch.testing.assert_close(found, lloyd_by_loop(x, codes, 6))


@pytest.mark.parametrize("size", [1, 5, 60, 150])
def test_inertia_never_rises(size):
    """Also where codes have no vectors (all begin on one spot), and with more codes than vectors."""
    torch.manual_seed(size)
    x, _ = blobs(20, 5)
    codes = x[:1].repeat(size, 1)
    before = inertia(x, codes)
    for _ in range(12):
        codes = kmeans(x, codes, iterations=1, generator=seeded())
        after = inertia(x, codes)
        assert after <= before * (1 + 1e-6) + 1e-9
        before = after
    if size == 150:
        assert after < 1e-6


def test_finds_blobs():
    torch.manual_seed(0)
    x, centres = blobs(8, 50)
    codes = fit(Start(per_code=50, iterations=20), x, 8, generator=seeded())
    assert inertia(x, codes) < 4 * inertia(x, centres) + inertia(x, x.mean(0, keepdim=True)) * 0.2


def test_draws_are_distinct_as_long_as_there_are_enough():
    x = torch.arange(10.0)[:, None]
    assert sorted(drawn(x, 10, generator=seeded())[:, 0].tolist()) == list(range(10))
    assert sorted(drawn(x, 20, generator=seeded())[:, 0].tolist()) == sorted(list(range(10)) * 2)


@pytest.mark.parametrize("by", ["data", "kmeans"])
def test_is_the_same_under_the_same_seed_and_leaves_torchs_numbers_alone(by):
    z = torch.randn(2, 4, 100)
    states = []
    for _ in range(2):
        torch.manual_seed(11)
        quantizer = VectorQuantizer(4, 8, start=Start(by=by, per_code=5))
        states.append(quantizer)
        quantizer(z)
        states.append(torch.rand(1))
    assert torch.equal(states[0].codebook.vectors, states[2].codebook.vectors)
    assert torch.equal(states[1], states[3])
    fitted = fit(Start(by=by), z.movedim(1, -1).reshape(-1, 4), 8, generator=seeded())
    assert torch.equal(fitted, fit(Start(by=by), z.movedim(1, -1).reshape(-1, 4), 8, generator=seeded()))


def test_collects_over_the_first_batches():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 8, start=Start(by="kmeans", per_code=10))
    assert quantizer.pool.pending
    for seen in (30, 60):
        out = quantizer(torch.randn(1, 4, 30))
        assert out.stats["usage"] == 1  # the codes lie on the data from the first batch on
        assert len(quantizer.pool.vectors) == seen
        assert not quantizer.pool.started
    quantizer(torch.randn(1, 4, 30))
    assert quantizer.pool.started
    assert not quantizer.pool.pending
    assert len(quantizer.pool.vectors) == 0
    again = VectorQuantizer(4, 8, start=Start(by="kmeans"))
    again.load_state_dict(quantizer.state_dict())
    assert not again.pool.pending


def test_kmeans_is_fitted_anew_when_the_vectors_have_doubled_and_with_all():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 8, start=Start(by="kmeans", per_code=25), learning=Learning(by="frozen"))
    fitted, seen = [], 0
    while quantizer.pool.pending:
        before = quantizer.codebook.vectors.clone()
        quantizer(torch.randn(1, 4, 10))
        seen += 10
        if not torch.equal(before, quantizer.codebook.vectors):
            fitted.append(seen)
    assert fitted == [10, 20, 40, 70, 130, 200]


WAITING = {
    "vector": lambda start: VectorQuantizer(4, 8, start=start),
    "gradient": lambda start: VectorQuantizer(4, 8, start=start, learning=Learning(by="gradient")),
    "residual": lambda start: ResidualQuantizer(4, 8, 2, start=start),
    "grouped": lambda start: GroupedQuantizer(4, 8, groups=2, depth=2, start=start),
}


@pytest.mark.parametrize("by", ["data", "kmeans", "normal"])
@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
def test_vectors_pass_as_they_are_before_codes_begin(make, by):
    torch.manual_seed(0)
    quantizer = make(Start(by=by, after=3, per_code=1))
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, 20:] = False
    for _ in range(3):
        z = torch.randn(2, 4, 30, requires_grad=True)
        out = quantizer(z, mask)
        assert torch.equal(out.vectors, z * mask[:, None])
        assert all(loss.item() == 0 for loss in out.losses.values())
        (out.vectors.sum() + sum(out.losses.values())).backward()
        assert torch.equal(z.grad, mask[:, None].expand_as(z).float())
        quantizer.eval()
        assert torch.allclose(
            quantizer(z, mask).vectors, quantizer.decode(quantizer.encode(z)) * mask[:, None]
        )
        quantizer.train()
    out = quantizer(z, mask)
    assert not torch.allclose(out.vectors, z * mask[:, None], atol=0.1)
    assert out.losses["commitment"].item() > 0


def test_waiting_goes_on_where_it_was_stopped():
    batches = torch.randn(5, 2, 4, 30)
    states = []
    for stop in (None, 2):
        torch.manual_seed(0)
        quantizer = VectorQuantizer(4, 8, start=Start(by="data", after=3))
        for step, z in enumerate(batches):
            if step == stop:
                stored = quantizer.state_dict()
                quantizer = VectorQuantizer(4, 8, start=Start(by="data", after=3))
                quantizer.load_state_dict(stored)
            quantizer(z)
        states.append(quantizer.state_dict())
        assert not quantizer.pool.pending
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_codes_that_do_not_wait_have_nothing_to_keep_of_it():
    assert "pool.waited" not in VectorQuantizer(4, 8).state_dict()
    with pytest.raises(BadSetting, match="begin after -1 passes"):
        Start(after=-1)
    with pytest.raises(BadSetting, match="leave start.after out"):
        ResidualQuantizer(4, 8, 2, order="by-depth", start=Start(after=1))


def test_a_data_start_takes_vectors_of_the_batch():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 8, start=Start(by="data"))
    z = torch.randn(1, 4, 8)
    out = quantizer(z)
    assert torch.equal(out.vectors, z)
    assert quantizer.pool.started


def test_the_first_update_keeps_the_scale():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 16)
    z = torch.randn(4, 4, 100) * 30 + 200
    quantizer(z)
    first = quantizer.codebook.vectors.clone()
    quantizer(z)
    torch.testing.assert_close(quantizer.codebook.vectors, first, atol=5.0, rtol=0.02)


@pytest.mark.parametrize("shared", [False, True])
def test_every_depth_starts_on_what_is_left(shared):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, 16, 3, shared=shared)
    z = torch.randn(4, 4, 100) * 10
    stats = quantizer(z).stats
    random = ResidualQuantizer(4, 16, 3, shared=shared, start=Start(by="normal"))(z).stats
    assert stats["error"] < 0.35
    assert stats["error"] < random["error"]
    assert stats["usage"] > 0.7
