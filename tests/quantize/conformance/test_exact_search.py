"""The search at odd sizes, in odd memory layouts and on moved data, against distances in float64."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechvq.kernels import plain
from speechvq.quantize import Start, VectorQuantizer
from speechvq.quantize.nearest import nearest as fastest

SEARCHES = {"plain": plain.nearest, "fastest": fastest}


@pytest.fixture(params=SEARCHES)
def nearest(request):
    """A search, by name."""
    return SEARCHES[request.param]


def assert_as_near(x, codes, indices, slack=1e-6):
    """Every chosen code is as near as the nearest, up to float32 rounding of the squared distance."""
    distance = torch.cdist(x.double(), codes.double()).square()
    best = distance.min(1).values
    chosen = distance.gather(1, indices[:, None])[:, 0]
    assert (chosen - best <= slack * (best + codes.double().square().sum(1).max())).all()


@pytest.mark.parametrize("dim", [1, 2, 8, 64, 256, 257])
def test_many_codes(nearest, dim):
    x, codes = torch.randn(33, dim), torch.randn(16384, dim)
    assert_as_near(x, codes, nearest(x, codes))


@pytest.mark.parametrize("size", [1, 2, 31, 512])
@pytest.mark.parametrize("count", [0, 1, 77])
def test_few_vectors_of_256_channels(nearest, size, count):
    x, codes = torch.randn(count, 256), torch.randn(size, 256)
    indices = nearest(x, codes)
    assert indices.shape == (count,)
    assert_as_near(x, codes, indices)


@pytest.mark.slow
def test_a_million_vectors(nearest):
    """In one call, in chunks that do not divide their number, and as near as in float64."""
    x, codes = torch.randn(1_000_003, 8), torch.randn(64, 8)
    indices = nearest(x, codes)
    assert torch.equal(indices, torch.cat([nearest(part, codes) for part in x.split(65_536)]))
    for part, found in zip(x.split(100_000), indices.split(100_000), strict=True):
        assert_as_near(part, codes, found)


whole = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(0, 999))


def on_a_grid(n, k, d, seed):
    """Vectors and codes in sixteenths: distances are exact in float32, and there are ties."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda rows: torch.randint(-40, 41, (rows, d), generator=generator) / 16  # noqa: E731
    return draw(n), draw(k)


def lowest_of_nearest(x, codes):
    """In exact arithmetic; ties to the lowest index."""
    distance = (x.double()[:, None] - codes.double()).square().sum(2)
    return (distance == distance.min(1, keepdim=True).values).long().argmax(1)


@settings(max_examples=40, deadline=None)
@given(sizes=whole, shift=st.integers(-4000, 4000), power=st.integers(-30, 30))
def test_moved_and_scaled_data_gives_the_same_indices(sizes, shift, power):
    x, codes = on_a_grid(*sizes)
    wanted = lowest_of_nearest(x, codes)
    for search in SEARCHES.values():
        assert torch.equal(search(x + shift, codes + shift), wanted)
        assert torch.equal(search(x * 2.0**power, codes * 2.0**power), wanted)


@settings(max_examples=20, deadline=None)
@given(sizes=whole)
def test_turned_data_is_as_near(sizes):
    n, k, d, seed = sizes
    generator = torch.Generator().manual_seed(seed)
    x, codes = torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)
    turn = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator)).Q
    turned = (x.double() @ turn).float(), (codes.double() @ turn).float()
    for search in SEARCHES.values():
        assert_as_near(x, codes, search(*turned))


def test_the_number_of_threads_never_changes_an_index():
    x, codes = torch.randn(5000, 24), torch.randn(300, 24)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += [search(x, codes) for search in SEARCHES.values()]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_layout_and_type_of_the_input_do_not_matter(any_kind, grid, order, dtype):
    """Axes in any order in memory, every second of a longer grid, any float type: the codes of the values."""
    quantizer = any_kind().eval()
    z = torch.randn(2, quantizer.dim, *grid).to(dtype)
    wanted = quantizer.encode(z.float().contiguous())
    axes = list(range(z.ndim))
    order.shuffle(axes)
    permuted = z.permute(axes).contiguous().permute([axes.index(i) for i in range(z.ndim)])
    strided = z.repeat_interleave(2, dim=-1)[..., ::2]
    for laid_out in (z, permuted, strided):
        out = quantizer(laid_out)
        assert torch.equal(out.indices, wanted)
        assert torch.equal(quantizer.encode(laid_out), wanted)
        assert out.vectors.dtype == dtype


def test_one_vector_for_all_places():
    quantizer = VectorQuantizer(4, 8, start=Start(by="normal"))
    z = torch.randn(2, 4, 1).expand(2, 4, 50)
    assert (quantizer(z).indices == quantizer(z[..., :1]).indices).all()
