"""Numbers of the used codes against dictionaries; smaller quantizers against searches by loop."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechvq.errors import BadCodes, BadSetting
from speechvq.quantize import (
    QUANTIZERS,
    GroupedQuantizer,
    Learning,
    ResidualQuantizer,
    Revival,
    Space,
    Start,
    VectorQuantizer,
)
from speechvq.quantize.remap import Remap, keep_used, used_codes
from speechvq.quantize.scalar import FSQ

NORMAL = Start(by="normal")
GRADIENT = Learning(by="gradient")
MAKERS = {
    "vector": lambda: VectorQuantizer(4, 40, start=NORMAL),
    "debiased": lambda: VectorQuantizer(4, 40, start=NORMAL, learning=Learning(by="debiased")),
    "cosine": lambda: VectorQuantizer(4, 40, start=NORMAL, space=Space(dim=3, metric="cosine")),
    "projected": lambda: VectorQuantizer(
        4, 40, start=NORMAL, space=Space(codes="projected"), learning=GRADIENT
    ),
    "residual": lambda: ResidualQuantizer(4, 40, 3, start=NORMAL),
    "residual-gradient": lambda: ResidualQuantizer(4, 40, 2, start=NORMAL, learning=GRADIENT),
    "residual-shared": lambda: ResidualQuantizer(4, 40, 3, shared=True, start=NORMAL),
    "grouped": lambda: GroupedQuantizer(4, 40, 2, depth=2, start=NORMAL),
    "grouped-shared": lambda: GroupedQuantizer(4, 40, 2, depth=2, shared=True, start=NORMAL),
}


@pytest.fixture(params=MAKERS)
def made(request):
    """(a quantizer that learned a little, vectors that use some of its codes, their counts)."""
    quantizer = MAKERS[request.param]()
    quantizer(torch.randn(2, 4, 90))
    z = torch.randn(1, 4, 12)
    counts = quantizer.eval()(z).stats["counts"]
    return quantizer, z, counts


@st.composite
def remaps(draw):
    size = draw(st.integers(1, 12))
    used = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    codes = draw(st.lists(st.integers(-1, size - 1), max_size=20))
    return size, used, codes


@given(remaps(), st.sampled_from(["random", "extra", 0]))
def test_there_and_back_as_a_dictionary_does(case, unknown):
    size, used, codes = case
    remap = Remap(torch.tensor(used), size, unknown=unknown)
    numbers = {code: number for number, code in enumerate(sorted(used))} | {-1: -1}
    back = {number: code for code, number in numbers.items()} | {len(used): min(used)}
    found = remap.to_used(torch.tensor(codes, dtype=torch.int64)).tolist()
    for code, number in zip(codes, found, strict=True):
        if code in numbers:
            assert number == numbers[code]
        else:
            assert number in {"random": range(len(used)), "extra": [len(used)], 0: [0]}[unknown]
        assert number < remap.codebook_size
    assert remap.to_all(torch.tensor(found, dtype=torch.int64)).tolist() == [back[n] for n in found]


def test_unknown_codes_go_to_the_nearest_used_one():
    codes = torch.randn(9, 3)
    used = [7, 2, 5]
    remap = Remap(torch.tensor(used), 9, unknown="nearest", codes=codes)
    for k in range(9):
        wanted = min(used, key=lambda u: float(((codes[u] - codes[k]) ** 2).sum()))
        assert int(remap.to_all(remap.to_used(torch.tensor([k])))) == wanted


def test_random_codes_are_all_used_ones():
    remap = Remap(torch.tensor([1, 4, 6]), 8, unknown="random")
    found = remap.to_used(torch.zeros(2, 1, 500, dtype=torch.int64))
    assert found.unique().tolist() == [0, 1, 2]


def test_from_counts_of_one_and_of_several_codebooks():
    assert Remap.from_counts(torch.tensor([0, 3.0, 1, 0, 2])).used.tolist() == [1, 2, 4]
    assert Remap.from_counts(torch.tensor([0, 3, 1, 0, 2]), least=2).used.tolist() == [1, 4]
    assert Remap.from_counts(torch.tensor([[0, 1, 0], [0, 1, 5]]), least=2).used.tolist() == [1, 2]


def test_state_of_a_remap_comes_back():
    first = Remap(torch.tensor([1, 4, 6]), 8, unknown="extra")
    second = Remap(torch.arange(3), 8, unknown="extra")
    second.load_state_dict(first.state_dict())
    codes = torch.arange(-1, 8)
    assert torch.equal(first.to_used(codes), second.to_used(codes))
    assert torch.equal(first.to_all(torch.arange(4)), second.to_all(torch.arange(4)))


def test_refusals_are_sentences():
    used = torch.tensor([1, 4])
    with pytest.raises(BadCodes, match="code 3 is not among the 2 used codes"):
        Remap(used, 8).to_used(torch.tensor([1, 3, -1]))
    with pytest.raises(BadCodes, match="0 to 7"):
        Remap(used, 8).to_used(torch.tensor([8]))
    with pytest.raises(BadCodes, match="0 to 1"):
        Remap(used, 8, unknown="random").to_all(torch.tensor([2]))
    for wrong in (torch.tensor([], dtype=torch.int64), torch.tensor([8]), torch.tensor([-1, 2])):
        with pytest.raises(BadSetting, match="some of 0 to 7"):
            Remap(wrong, 8)
    for unknown in ("last", 2, -1):
        with pytest.raises(BadSetting, match="cannot become"):
            Remap(used, 8, unknown=unknown)
    for settings in ({"unknown": "nearest"}, {"codes": torch.randn(8, 2)}):
        with pytest.raises(BadSetting, match="vectors of all 8 codes"):
            Remap(used, 8, **settings)
    with pytest.raises(BadSetting, match="no code was used"):
        Remap.from_counts(torch.zeros(3))
    quantizer = VectorQuantizer(4, 8, start=NORMAL)
    with pytest.raises(BadSetting, match="no code was used"):
        keep_used(quantizer, torch.zeros(8))
    with pytest.raises(BadSetting, match="counts are"):
        keep_used(quantizer, torch.ones(7))
    with pytest.raises(BadSetting, match="FSQ has no codebook"):
        keep_used(FSQ((3, 3)), torch.ones(9))


def test_what_used_only_kept_codes_is_quantized_the_same(made, state_of):
    quantizer, z, counts = made
    before, chance = state_of(quantizer), torch.get_rng_state()
    smaller = keep_used(quantizer, counts)
    assert torch.equal(torch.get_rng_state(), chance)
    for name, value in state_of(quantizer).items():
        assert torch.equal(value, before[name]), name
    kept = used_codes(quantizer, counts)
    assert smaller.codebook_size == kept.shape[1] < 40
    found = smaller.encode(z)
    depths = quantizer.num_codebooks // len(kept)
    old = torch.stack([kept[v // depths][found[:, v]] for v in range(quantizer.num_codebooks)], 1)
    assert torch.equal(old, quantizer.encode(z))
    assert torch.equal(smaller.decode(found), quantizer.decode(old))


@pytest.mark.parametrize("cosine", [False, True])
def test_every_vector_goes_to_the_nearest_kept_code(cosine):
    space = Space(metric="cosine" if cosine else "euclidean")
    quantizer = VectorQuantizer(3, 20, start=NORMAL, space=space)
    counts = torch.randint(0, 3, (20,))
    counts[4] = 2
    smaller = keep_used(quantizer, counts, least=2)
    codes = quantizer.codebook.codes()
    used = [k for k in range(20) if counts[k] >= 2]
    z = torch.randn(1, 3, 30)
    for n, k in enumerate(smaller.encode(z)[0, 0].tolist()):
        x = quantizer.passage.into(z[0, :, n][None])[0]
        assert used[k] == min(used, key=lambda u: float(((codes[u] - x) ** 2).sum()))


def test_codebooks_of_a_stack_keep_one_size():
    """The most counted ones, used or not; of equals the lowest."""
    quantizer = ResidualQuantizer(2, 5, 2, start=NORMAL)
    counts = torch.tensor([[0, 4, 0, 9, 3], [0, 0, 1, 0, 0]])
    assert used_codes(quantizer, counts).tolist() == [[1, 3, 4], [0, 1, 2]]
    shared = ResidualQuantizer(2, 5, 2, shared=True, start=NORMAL)
    assert used_codes(shared, counts).tolist() == [[1, 2, 3, 4]]
    assert used_codes(shared, counts, least=4).tolist() == [[1, 3]]


def test_round_trip_and_learning_goes_on(made):
    quantizer, z, counts = made
    smaller = keep_used(quantizer.double().train(), counts)
    assert smaller.training
    assert {v.dtype for v in smaller.state_dict().values() if v.is_floating_point()} == {torch.float64}
    for new, old in zip(smaller.parameters(), quantizer.parameters(), strict=True):
        assert new.requires_grad == old.requires_grad
    again = QUANTIZERS.build(json.loads(json.dumps(smaller.spec))).double()
    again.load_state_dict(smaller.state_dict())
    z = z.double()
    torch.manual_seed(0)
    first = smaller(z)
    torch.manual_seed(0)
    second = again(z)
    assert torch.equal(first.indices, second.indices)
    assert first.stats["revived"] == 0
    for name, value in smaller.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_state_of_the_kept_codes_is_carried():
    quantizer = VectorQuantizer(3, 10, start=NORMAL, revival=Revival(threshold=0.05, decay=0.5))
    for _ in range(20):
        counts = quantizer(torch.randn(1, 3, 60)).stats["counts"]
    smaller = keep_used(quantizer, counts, least=5)
    kept, old, new = used_codes(quantizer, counts, least=5)[0], quantizer.codebook, smaller.codebook
    for part in ("vectors", "counts", "sums"):
        assert torch.equal(getattr(new, part), getattr(old, part)[kept])
    torch.testing.assert_close(new.use, old.use[kept] / old.use[kept].mean())
    torch.testing.assert_close(new.use.mean(), torch.ones(()))
