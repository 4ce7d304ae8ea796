"""The PixelCNN prior: what each code depends on, what grids cost, codes drawn with a cache and without."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting, UnknownName
from speechvq.nets.pixelcnn import Stacks
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.prior import PRIORS, PixelCNNPrior, Prior, Steering
from speechvq.prior.pixelcnn import SIZES, _Reader
from speechvq.prior.sampling import guide, steer

DEPTHS = pytest.mark.parametrize("depth", [1, 3])
NAMES = ("shirt", "shoe")
SMALL = Stacks(layers=3, first=5, kernel=3, width=8, skip=16, post=32, condition=4, dropout=0.3)


def prior(depth: int = 1, size: int = 5, **more: Any) -> PixelCNNPrior:
    """A prior over ``size`` codes that sees all of grids up to 5 wide, with opinions."""
    torch.manual_seed(0)
    made = PixelCNNPrior(size, num_codebooks=depth, size=SMALL, **more).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return made


def random_codes(count: int, depth: int, *grid: int, size: int = 5) -> Tensor:
    return torch.randint(size, (count, depth, *grid))


def said(net: PixelCNNPrior, indices: Tensor, condition: dict[str, Tensor] | None = None) -> Tensor:
    """Logits of the whole grid at once, without any cache: (B, H, W, K, Q)."""
    tokens = net.alphabet.tokens(Codes(indices)).view(len(indices), *indices.shape[2:], -1)
    return net._logits(tokens, net._conditions(condition, len(indices)))


@DEPTHS
def test_knowing_nothing_costs_the_logarithm_of_the_codebook_size(depth: int):
    net = prior(depth)
    torch.nn.init.zeros_(net.leave.last.weight)
    torch.nn.init.zeros_(net.leave.last.bias)
    codes = Codes(random_codes(2, depth, 3, 4))
    assert net.loss(codes).item() == pytest.approx(math.log(5), abs=1e-6)
    assert net.nats(codes).shape == (2, depth, 3, 4)


@DEPTHS
@torch.no_grad()
def test_costs_are_the_cross_entropy_from_the_codes_before_only(depth: int):
    """Code by code, the ones that come after taken away (made others) first."""
    net, who = prior(depth, labels=NAMES), {"label": torch.tensor([1])}
    indices = random_codes(1, depth, 2, 4)
    nats = net.nats(Codes(indices), who)
    order = [(k, i, j) for i in range(2) for j in range(4) for k in range(depth)]
    for number, (k, i, j) in enumerate(order):
        known = indices.clone()
        for place in order[number:]:
            known[0][place] = torch.randint(5, ())
        logits = said(net, known, who)[0, i, j, k].double()
        code = int(indices[0, k, i, j])
        expected = math.log(sum(math.exp(x) for x in logits.tolist())) - float(logits[code])
        assert nats[0, k, i, j].item() == pytest.approx(expected, abs=1e-4)


@DEPTHS
@torch.no_grad()
def test_a_code_changes_its_own_cost_and_all_later_ones(depth: int):
    net, rows, columns = prior(depth).double(), 3, 5
    first = random_codes(1, depth, rows, columns)
    before = said(net, first)[0]
    for row, column, book in itertools.product(range(rows), range(columns), range(depth)):
        other = first.clone()
        other[0, book, row, column] = (first[0, book, row, column] + 1) % 5
        moved = ((said(net, other)[0] - before).abs().amax(-1) > 1e-12).flatten()  # rows, columns, books
        own = depth * (columns * row + column) + book
        later = torch.arange(depth * rows * columns) > own
        assert torch.equal(moved, later), (row, column, book)


@DEPTHS
def test_a_logit_has_a_gradient_from_all_earlier_codes_and_no_other(depth: int):
    net, rows, columns = prior(depth, size=12 * depth).double(), 3, 4
    # Every code of the grid is another one, so that a row of a table is a code of the grid.
    indices = torch.arange(rows * columns * depth).view(1, rows, columns, depth).movedim(3, 1)
    logits = said(net, indices).flatten(0, 3)
    tables = [net.enter.weight] + ([net.leave.told.weight] if net.leave.told is not None else [])
    count = rows * columns * depth
    for own in range(count):
        slopes = torch.autograd.grad(logits[own].square().sum(), tables, retain_graph=True)
        moved = torch.zeros(count, dtype=torch.bool)
        for slope in slopes:
            # A row of a table is code c of codebook k; only the codes of the grid are looked up.
            moved |= (slope.abs().sum(1) > 0).unflatten(0, (-1, count)).any(0)
        assert torch.equal(moved, torch.arange(count) < own), own


@pytest.mark.parametrize(("depth", "size"), [(1, 3), (2, 2)])
@torch.no_grad()
def test_the_chances_of_all_grids_sum_to_one(depth: int, size: int):
    net = prior(depth, size=size, labels=NAMES).double()
    every = torch.tensor(list(itertools.product(range(size), repeat=4 * depth))).view(-1, depth, 2, 2)
    totals = []
    for label in range(2):
        nats = net.nats(Codes(every), {"label": torch.tensor([label])}).flatten(1).sum(1)
        totals.append((-nats).exp())
        assert totals[-1].sum().item() == pytest.approx(1, abs=1e-5)
    assert (totals[0] - totals[1]).abs().max() > 0.001


@DEPTHS
def test_what_is_masked_costs_nothing_and_is_never_seen(depth: int):
    net = prior(depth)
    indices = random_codes(2, depth, 4, 5)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0], mask[1, :3, :2] = True, True
    nats = net.nats(Codes(indices.masked_fill(~mask[:, None], -1), mask))
    part = net.nats(Codes(indices[1:, :, :3, :2]))
    assert torch.allclose(nats[:1], net.nats(Codes(indices[:1])), atol=1e-5)
    assert torch.allclose(nats[1:, :, :3, :2], part, atol=1e-5)
    assert not nats.masked_select(~mask[:, None]).any()
    assert torch.allclose(net.nats(Codes(indices, mask)), nats)  # whatever is written at masked places
    together = net.loss(Codes(indices, mask)).item()
    assert together == pytest.approx(nats.sum().item() / (depth * 26), abs=1e-5)
    nothing = Codes(torch.full((1, depth, 2, 2), -1), torch.zeros(1, 2, 2, dtype=torch.bool))
    assert net.loss(nothing).item() == 0


def test_a_place_may_lack_some_of_its_codes():
    net, indices = prior(3), random_codes(1, 3, 2, 3)
    indices[0, 2, 0, 1] = -1
    nats = net.nats(Codes(indices))
    assert nats[0, 2, 0, 1] == 0
    assert int((nats == 0).sum()) == 1


@DEPTHS
@pytest.mark.parametrize(
    "steering", [Steering(), Steering(2.5, penalty=1.5, window=3, max_run=2, no_repeat=3)]
)
@torch.no_grad()
def test_cached_generation_is_the_whole_network_at_every_code(depth: int, steering: Steering):
    net = prior(depth, labels=NAMES, label_dropout=0.5)
    what, nothing = {"label": torch.tensor([1, 0])}, {"label": torch.tensor([2, 2])}
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=5)
    codes = net.generate((3, 5), what, sampling, steering=steering, count=2)
    assert codes.indices.shape == (2, depth, 3, 5)
    assert codes.mask is None
    known, unknown = (said(net, codes.indices, c).flatten(1, 3) for c in (what, nothing))
    flat, uniforms = codes.indices.movedim(1, 3).flatten(1), Uniforms(5, 2).draw(15 * depth)
    for i in range(15 * depth):
        wanted = known[:, i]
        if steering.guidance != 1:
            wanted = guide(known[:, i], unknown[:, i], steering.guidance)
        wanted = steer(wanted, flat[:, i % depth : i : depth], steering)
        assert torch.equal(sample(wanted, sampling, uniforms[:, i]), flat[:, i])


@DEPTHS
@pytest.mark.parametrize("grid", [(3, 5), (1, 7), (6, 1), (4, 9)])
@torch.no_grad()
def test_what_the_cache_says_is_what_the_whole_network_says(depth: int, grid: tuple[int, int]):
    net, indices = prior(depth), random_codes(2, depth, *grid)
    tokens = net.alphabet.before(net.alphabet.tokens(Codes(indices)))
    whole = said(net, indices).flatten(1, 3)
    for given in range(grid[0]):
        reader, end = _Reader(net, net._conditions(None, 2), columns=grid[1]), given * grid[1] * depth
        logits = [reader.read(tokens[:, : end + 1])]
        logits += [reader.read(tokens[:, i : i + 1]) for i in range(end + 1, tokens.shape[1])]
        assert (torch.stack(logits, dim=1) - whole[:, end:]).abs().max() < 1e-5


@DEPTHS
@torch.no_grad()
def test_of_16_bit_weights_the_cache_rounds_no_more_than_the_whole_network(depth: int):
    """Each beside the same weights in 64 bits: what both are to say, and neither says exactly."""
    net, indices = prior(depth).bfloat16(), random_codes(20, depth, 3, 5)
    tokens = net.alphabet.before(net.alphabet.tokens(Codes(indices)))
    exact = said(copy.deepcopy(net).double(), indices).flatten(1, 3)
    reader = _Reader(net, net._conditions(None, 20), columns=5)
    cached = torch.stack([reader.read(tokens[:, i : i + 1]) for i in range(tokens.shape[1])], dim=1)
    whole, cached = ((x - exact).abs() for x in (said(net, indices).flatten(1, 3), cached))
    assert 0.001 < whole.mean() < 0.01 * exact.abs().mean()
    assert cached.mean() < 1.1 * whole.mean()
    assert cached.max() < 1.5 * whole.max()


@DEPTHS
@pytest.mark.parametrize("steering", [Steering(), Steering(1.7)])
def test_in_mixed_precision_it_writes_the_same(depth: int, steering: Steering):
    """What it is told included, on which many draws depend."""
    net = prior(depth, labels=NAMES, label_dropout=0.5)
    asked = {"condition": {"label": torch.tensor([1])}, "steering": steering, "count": 300}
    wanted = net.generate((3, 5), **asked).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.generate((3, 5), **asked).indices, wanted)


@DEPTHS
@pytest.mark.parametrize("steering", [Steering(), Steering(1.7, max_run=2)])
def test_rows_that_are_given_are_gone_on_from(depth: int, steering: Steering):
    net = prior(depth, labels=NAMES, label_dropout=0.1)
    what, sampling = {"label": torch.tensor([0, 1])}, Sampling(seed=3)
    whole = net.generate((4, 5), what, sampling, steering=steering, count=2).indices
    for given in (0, 1, 3, 4):
        top = Codes(whole[:, :, :given])
        again = net.generate((4, 5), what, sampling, steering=steering, prefix=top, count=2)
        assert torch.equal(again.indices, whole)
    one = Codes(random_codes(1, depth, 2, 5))
    both = net.generate((4, 5), what, sampling, prefix=one, count=2).indices
    assert torch.equal(both[:, :, :2], one.indices.expand(2, -1, -1, -1))
    assert not torch.equal(both, whole)


def test_a_batch_draws_what_its_rows_would_draw_alone_whatever_the_mode():
    net, sampling = prior(2, labels=NAMES), Sampling(seed=1)
    both = net.generate((3, 4), {"label": torch.tensor([1, 0])}, sampling, count=2).indices
    alone = net.generate((3, 4), {"label": torch.tensor([1])}, sampling).indices
    assert torch.equal(both[:1], alone)
    assert torch.equal(net.train().generate((3, 4), {"label": torch.tensor([1])}, sampling).indices, alone)
    assert net.training
    other = net.generate((3, 4), {"label": torch.tensor([1])}, Sampling(seed=2)).indices
    assert not torch.equal(other, alone)
    many = net.generate((3, 4), {"label": torch.tensor([1])}, sampling, count=3)  # one label for all
    assert torch.equal(many.indices[:1], alone)


@pytest.mark.parametrize("grid", [(32, 16), (16, 32), (1, 9), (9, 1), (0, 4), (4, 0)])
def test_any_grid_of_rows_and_columns(grid: tuple[int, int]):
    net = prior(2)
    codes = net.generate(grid, count=2)
    assert codes.indices.shape == (2, 2, *grid)
    if codes.indices.numel():
        assert net.loss(codes).isfinite()


def test_labels_and_speakers_change_what_is_said_and_each_can_be_left_out():
    net = prior(labels=NAMES, label_dropout=0.5, speakers=("ann", "bob"), speaker_dropout=0.5)
    codes = Codes(random_codes(1, 1, 3, 4))
    rows = itertools.product(range(3), range(3))
    costs = [
        net.loss(codes, {"label": torch.tensor([i]), "speaker": torch.tensor([j])}).item() for i, j in rows
    ]
    assert len(set(costs)) == 9
    assert net.label.row("shoe") == 1
    assert (net.labels, net.speakers) == (NAMES, ("ann", "bob"))
    told = net.label({"label": torch.tensor([1])}, 4000)
    assert torch.equal(told, net.label.table.weight[1].expand(4000, -1))
    net.train()
    left_out = (net.label({"label": torch.tensor([1])}, 4000) == net.label.table.weight[2]).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_grid_for_each_label_is_learned_by_heart(depth: int):
    torch.manual_seed(0)
    net = PixelCNNPrior(7, num_codebooks=depth, size="tiny", labels=NAMES)
    codes, rows = Codes(random_codes(2, depth, 4, 5, size=7)), {"label": torch.tensor([0, 1])}
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(40):
        adam.zero_grad()
        net.loss(codes, rows).backward()
        adam.step()
    assert net.loss(codes, rows).item() < 0.1
    made = net.eval().generate((4, 5), rows, Sampling(temperature=0), count=2)
    assert torch.equal(made.indices, codes.indices)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    net = prior(2, codec="abc123", labels=NAMES, label_dropout=0.1)
    net.save_pretrained(tmp_path / "prior")
    again = Prior.from_pretrained(tmp_path / "prior")
    codes, what = Codes(random_codes(1, 2, 3, 4)), {"label": torch.tensor([1])}
    assert torch.equal(again.loss(codes, what), net.loss(codes, what))
    assert again.spec == net.spec
    assert again.spec["labels"] == list(NAMES)
    assert not again.training
    with pytest.raises(BadCodes, match="another codec"):
        again.check("abc124")


@pytest.mark.parametrize(("size", "sees", "millions"), [("tiny", 10, 0.49), ("small", 16, 2.99)])
def test_presets(size: str, sees: int, millions: float):
    assert SIZES[size].reach + 1 == sees
    made = PRIORS.build({"name": "pixelcnn", "codebook_size": 512, "size": size})
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    made.loss(Codes(random_codes(1, 1, 3, 4))).backward()
    assert all(p.grad is not None for p in made.parameters())


def test_wrong_codes_and_settings_are_sentences():
    net, what = prior(2, labels=NAMES), {"label": torch.tensor([0])}
    with pytest.raises(BadCodes, match="rows and columns, not on \\(6,\\)"):
        net.loss(Codes(random_codes(1, 2, 6)), what)
    with pytest.raises(BadCodes, match="rows and columns"):
        net.generate((2, 3, 4), what)
    with pytest.raises(BadCodes, match="beyond"):
        net.loss(Codes(torch.full((1, 2, 3, 3), 5)), what)
    with pytest.raises(BadCodes, match="shape"):
        net.loss(Codes(random_codes(1, 1, 3, 3)), what)
    with pytest.raises(BadCodes, match="no beginning"):
        net.generate((3, 4), what, prefix=Codes(random_codes(1, 2, 1, 3)))
    with pytest.raises(BadSetting, match="which label.*shirt, shoe"):
        net.generate((3, 3))
    with pytest.raises(BadSetting, match="2 labels are given for 3"):
        net.generate((3, 3), {"label": torch.tensor([0, 1])}, count=3)
    with pytest.raises(BadSetting, match="labels of this prior are the rows 0 to 1; one is"):
        net.loss(Codes(random_codes(1, 2, 3, 3)), {"label": torch.tensor([2])})
    with pytest.raises(BadSetting, match="never trained without a label"):
        net.generate((3, 3), what, steering=Steering(2.0))
    with pytest.raises(BadSetting, match="no labels and no speakers"):
        prior().generate((3, 3), steering=Steering(2.0))
    with pytest.raises(BadSetting, match="no size 'vast'"):
        PRIORS.build({"name": "pixelcnn", "codebook_size": 7, "size": "vast"})
    with pytest.raises(BadSetting, match="labels of this prior are 'auto'"):
        PRIORS.build({"name": "pixelcnn", "codebook_size": 7, "size": "tiny", "labels": "auto"})
    with pytest.raises(BadSetting, match="dropout of the label"):
        prior(labels=NAMES, label_dropout=1.0)
    with pytest.raises(UnknownName, match="shirt, shoe"):
        net.label.row("hat")
