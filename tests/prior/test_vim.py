"""The GPT prior with positions by row and column (VIM): sizes, beside the network read anew, and features."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.transformer import Depth
from speechvq.prior import GPTPrior, Prior, TransformerPrior
from speechvq.prior.axes import Axes
from speechvq.prior.conditions import Given
from speechvq.prior.gpt import _Reader
from speechvq.prior.gpt_settings import SIZES, Reading
from speechvq.prior.sampling import Steering, guide
from speechvq.prior.windows import Windows

SIZE = Depth(
    layers=2, width=16, heads=2, reach=64, positions="given", dropout=0.3, inner=12, inner_dropout=0.3
)
LABEL = (Given("label", 3, "label"),)
ASKED = {"label": torch.tensor([2, 0])}
DEPTHS = pytest.mark.parametrize("depth", [1, 3])
READING = pytest.mark.parametrize("order", ["raster", "spiral-in"])


def made(depth: int = 1, *, given: tuple = LABEL, size: Depth = SIZE, **reading) -> GPTPrior:
    torch.manual_seed(0)
    reading = {"window": (4, 5), "blind": 0.5 if given else 0.0} | reading
    net = GPTPrior(7, num_codebooks=depth, size=size, given=given, reading=Reading(**reading)).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net


def slowly(net: GPTPrior, told: Tensor, letters: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """Logits (B, Q) of what follows the token ``told`` (B,) and ``letters`` (B, n), lying at ``places``."""
    h, (rows, columns) = [net.enter(told)], net.axes.tables
    for i, (row, column) in enumerate(places[: letters.shape[1]]):
        h.append(net.enter(letters[:, i]) + rows.weight[row] + columns.weight[column])
    book = letters.shape[1] % net.num_codebooks
    return net.net(torch.stack(h, dim=1))[:, -1] @ net.leave.weight[7 * book : 7 * book + 7].T


def rowed(net: GPTPrior, codes: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Codes (B, K, H, W) as letters (B, L), and where each of them lies."""
    width, depth = codes.shape[3], codes.shape[1]
    places = [divmod(int(p), width) for p in net.reading.places(tuple(codes.shape[2:]))]
    letters = [codes[:, k, i, j] + 7 * k for i, j in places for k in range(depth)]
    return torch.stack(letters, dim=1), [place for place in places for _ in range(depth)]


@pytest.mark.parametrize(
    ("name", "millions", "published"), [("vim-base", 649.6, 650), ("vim-large", 1696.6, 1697)]
)
def test_parameters_are_as_many_as_the_published(name: str, millions: float, published: float):
    size, codes, classes = SIZES[name], 8192, 1000
    reading = Reading(window=(32, 32))
    with torch.device("meta"):
        net = GPTPrior(codes, size=name, given=(Given("label", classes, "label"),), reading=reading)
    count = sum(p.numel() for p in net.parameters())
    d, inner = size.width, 3 * size.width // 4
    block = 3 * inner * (d + 1) + (inner + 1) * d + 4 * d * (d + 1) + (4 * d + 1) * d + 4 * d
    # Besides: codes in and out, the classes, "nothing", the rows and columns, the last norm.
    assert count == size.layers * block + (2 * codes + classes + 1 + 64 + 2) * d
    assert count / 1e6 == pytest.approx(millions, rel=1e-3)
    assert count / 1e6 == pytest.approx(published, rel=1e-3)
    assert (size.heads, size.dropout, size.inner_dropout) == ({1536: 16, 2048: 32}[d], 0.1, 0.1)


def test_a_place_is_the_sum_of_its_row_and_its_column():
    axes = Axes((3, 4), 6)
    rows, columns = axes.tables
    for grid in ((3, 4), (2, 3), (3, 1)):
        found = axes(grid)
        assert found.shape == (grid[0] * grid[1], 6)
        for place, vector in enumerate(found):
            row, column = divmod(place, grid[1])
            assert torch.equal(vector, rows.weight[row] + columns.weight[column])
    assert axes((0, 4)).shape == (0, 6)
    cube = Axes((2, 2, 2), 6)
    a, b, c = cube.tables
    assert torch.allclose(cube((2, 2, 2))[5], a.weight[1] + b.weight[0] + c.weight[1])
    for grid in ((12,), (4, 4), (3, 5), (1, 1, 1)):
        with pytest.raises(BadSetting, match="by row and column in a window of"):
            axes(grid)


@DEPTHS
@READING
@torch.no_grad()
def test_costs_are_those_of_the_network_read_anew(depth: int, order: str):
    net, codes = made(depth, order=order), torch.randint(7, (2, depth, 3, 4))
    letters, places = rowed(net, codes)
    nats, told = net.nats(Codes(codes), ASKED), 7 * depth + 1 + ASKED["label"]
    for i, (row, column) in enumerate(places):
        expected = -slowly(net, told, letters[:, :i], places).log_softmax(1)
        wanted = expected.gather(1, letters[:, i, None] % 7)[:, 0]
        assert torch.allclose(nats[:, i % depth, row, column], wanted, atol=1e-5)


@DEPTHS
@READING
@torch.no_grad()
def test_the_cache_says_what_the_whole_network_says(depth: int, order: str):
    net, windows = made(depth, order=order), Windows.over((3, 4), (4, 5))
    letters, places = rowed(net, torch.randint(7, (2, depth, 3, 4)))
    parts = net.conditions.read(ASKED, (3, 4), 2, torch.device("cpu"))
    nothing, told = torch.full((2, 1), 7 * depth), 7 * depth + 1 + ASKED["label"]
    for begun in (0, 5):
        reader = _Reader(net, parts, windows, guided=False).begin((0, 0))
        unread = torch.cat([nothing, letters[:, :begun]], dim=1)
        for i in range(begun, 12 * depth):
            assert torch.allclose(reader.read(unread), slowly(net, told, letters[:, :i], places), atol=1e-5)
            unread = letters[:, i : i + 1]


@torch.no_grad()
def test_a_window_slides_and_counts_rows_and_columns_from_its_own_corner():
    net, sampling = made(window=(2, 3)), Sampling(temperature=0.8, seed=5)
    grid, windows = (4, 5), Windows.over((4, 5), (2, 3))
    codes = net.generate(grid, ASKED, sampling, steering=Steering(1.5), count=2).indices
    nats = net.nats(Codes(codes), ASKED)
    drawn, uniforms, told = codes.flatten(1), Uniforms(5, 2).draw(20), 8 + ASKED["label"]
    for place in range(20):
        top, left = windows.start(place)
        before = windows.before(place)
        where = [(int(p) // 5 - top, int(p) % 5 - left) for p in before]
        known = slowly(net, told, drawn[:, before], where)
        unknown = slowly(net, torch.full_like(told, 7), drawn[:, before], where)
        assert torch.equal(sample(guide(known, unknown, 1.5), sampling, uniforms[:, place]), drawn[:, place])
        wanted = -known.log_softmax(1).gather(1, drawn[:, place, None])[:, 0]
        assert torch.allclose(nats.flatten(1)[:, place], wanted, atol=1e-5)
    assert net.train().loss(Codes(codes), ASKED).isfinite()


@DEPTHS
@READING
@torch.no_grad()
def test_features_are_what_a_block_says_when_a_code_is_asked_for(depth: int, order: str):
    net, codes = made(depth, order=order).train(), torch.randint(7, (2, depth, 3, 4))
    found = net.features(Codes(codes), ASKED)
    assert net.training
    assert [f.shape for f in found] == [(2, 12, depth * 16)] * 2
    net.eval()
    letters, places = rowed(net, codes)
    told, lookup = 7 * depth + 1 + ASKED["label"], net.axes((3, 4))
    for i, (row, column) in enumerate(places):
        x = [net.enter(told)]
        x += [net.enter(letters[:, j]) + lookup[4 * places[j][0] + places[j][1]] for j in range(i)]
        h = torch.stack(x, dim=1)
        for layer, block in enumerate(net.net.blocks):
            h = block(h, None)
            book = 16 * (i % depth)
            said = found[layer][:, 4 * row + column, book : book + 16]
            assert torch.allclose(said, h[:, -1], atol=1e-5)


@torch.no_grad()
def test_features_of_learned_positions_need_no_place_more_than_training():
    size = Depth(layers=3, width=16, heads=2, reach=12, positions="learned")
    net, codes = made(size=size, given=()), Codes(torch.randint(7, (2, 1, 3, 4)))
    *_, last = net.features(codes)
    logits = net.net.last(last) @ net.leave.weight.T
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1)[:, :7], codes.indices.flatten())
    assert net.loss(codes).item() == pytest.approx(wanted.item(), abs=1e-5)


def test_pictures_that_differ_in_where_things_are_are_learned_by_heart():
    torch.manual_seed(0)
    size = replace(SIZE, width=64, heads=4, inner=48, dropout=0, inner_dropout=0)
    net = GPTPrior(7, size=size, given=LABEL, reading=Reading(window=(3, 4)))
    codes, asked = Codes(torch.randint(7, (2, 1, 3, 4))), {"label": torch.tensor([0, 1])}
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(80):
        adam.zero_grad()
        net.loss(codes, asked).backward()
        adam.step()
    assert net.axes is not None
    assert all(table.grad is not None and table.grad.abs().sum() > 0 for table in net.axes.parameters())
    assert net.eval().loss(codes, asked).item() < 0.1
    drawn = net.generate((3, 4), asked, Sampling(temperature=0), count=2)
    assert torch.equal(drawn.indices, codes.indices)


def test_folders_of_before_and_of_now_are_read(tmp_path):
    net, codes = made(2), Codes(torch.randint(7, (2, 2, 3, 4)))
    net.save_pretrained(tmp_path / "vim")
    again = Prior.from_pretrained(tmp_path / "vim")
    assert again.spec == net.spec
    assert torch.equal(again.nats(codes, ASKED), net.nats(codes, ASKED))
    old = made(2, size=Depth(2, 16, 2, 64, "learned"))
    old.save_pretrained(tmp_path / "old")
    path = tmp_path / "old/config.json"
    config = json.loads(path.read_text())
    for field in ("inner", "inner_dropout"):
        del config["prior"]["size"][field]
    path.write_text(json.dumps(config))
    assert torch.equal(Prior.from_pretrained(tmp_path / "old").nats(codes, ASKED), old.nats(codes, ASKED))


def test_what_it_cannot_do_is_a_sentence():
    with pytest.raises(BadSetting, match="classes"):
        made(given=(Given("depth", 5),))
    with pytest.raises(BadSetting, match="no positions"):
        TransformerPrior(7, size=SIZE)
    with pytest.raises(BadSetting, match="by row and column"):
        made().generate((9,), ASKED, count=2)
    with pytest.raises(BadSetting, match="at most"):
        made().features(Codes(torch.zeros(1, 1, 9, 9).long()), ASKED)
