"""The GPT prior: what it costs and draws, beside the network without a cache; told, untold, replaced."""

import math

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting, UnknownName
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.transformer import Depth
from speechvq.prior import PRIORS, GPTPrior, Prior
from speechvq.prior.conditions import Given
from speechvq.prior.gpt_settings import Reading
from speechvq.prior.sampling import Steering, guide, steer

SIZE = Depth(layers=2, width=16, heads=2, reach=64, positions="learned", dropout=0.3)
TOLD = (Given("label", 3, "label"), Given("points", 4, "tokens"))
ASKED = {"label": torch.tensor([2, 0]), "points": torch.tensor([[3, 1], [0, 2]])}
DEPTHS = pytest.mark.parametrize("depth", [1, 3])


def made(depth: int = 1, *, given: tuple = TOLD, size: Depth = SIZE, **reading) -> GPTPrior:
    torch.manual_seed(0)
    reading = {"window": (4, 4), "unmasked": 2, "blind": 0.5} | reading
    net = GPTPrior(7, num_codebooks=depth, size=size, given=given, reading=Reading(**reading)).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return net


@DEPTHS
def test_in_mixed_precision_it_writes_the_same(depth: int):
    net, one = made(depth), {name: rows[:1] for name, rows in ASKED.items()}
    asked = {"condition": one, "steering": Steering(1.7), "count": 300}
    wanted = net.generate((3, 4), **asked).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.generate((3, 4), **asked).indices, wanted)


def slowly(net: GPTPrior, told: Tensor, letters: Tensor) -> Tensor:
    """Logits (B, Q) of the code after the tokens ``told`` (B, m) and ``letters`` (B, n), without a cache."""
    row = torch.cat([told, letters], dim=1)
    h = net.net(net.enter(row), unmasked=min(net.reading.unmasked, told.shape[1]))[:, -1]
    book = letters.shape[1] % net.num_codebooks
    return h @ net.leave.weight[7 * book : 7 * book + 7].T


def as_tokens(asked: dict[str, Tensor], depth: int) -> Tensor:
    """The class's letters begin after those of the codes and "nothing"; those of the points after them."""
    begin = 7 * depth + 1
    return torch.cat([begin + asked["label"][:, None], begin + 3 + asked["points"]], dim=1)


def rowed(codes: Tensor) -> Tensor:
    """(B, K, *grid) to letters (B, L), codebook after codebook."""
    row, depth = codes.flatten(2).transpose(1, 2).flatten(1), codes.shape[1]
    return row + 7 * (torch.arange(row.shape[1]) % depth)


@DEPTHS
@pytest.mark.parametrize(
    "steering", [Steering(), Steering(2.5, penalty=1.5, window=3, max_run=2, no_repeat=3)]
)
@torch.no_grad()
def test_drawn_with_a_cache_it_is_the_whole_network_at_every_place(depth: int, steering: Steering):
    net, sampling = made(depth), Sampling(temperature=0.8, top_k=6, top_p=0.9, seed=5)
    codes = net.generate((3, 4), ASKED, sampling, steering=steering, count=2).indices
    assert codes.shape == (2, depth, 3, 4)
    letters, told = rowed(codes), as_tokens(ASKED, depth)
    said, uniforms = letters % 7, Uniforms(5, 2).draw(12 * depth)
    for i in range(12 * depth):
        logits = slowly(net, told, letters[:, :i])
        if steering.guidance != 1:
            nothing = torch.full_like(told, 7 * depth)
            logits = guide(logits, slowly(net, nothing, letters[:, :i]), steering.guidance)
        logits = steer(logits, said[:, i % depth : i : depth], steering)
        assert torch.equal(sample(logits, sampling, uniforms[:, i]), said[:, i])


@DEPTHS
@torch.no_grad()
def test_costs_are_those_of_the_codes_alone(depth: int):
    net, codes = made(depth), torch.randint(7, (2, depth, 3, 4))
    nats, letters = rowed_nats(net.nats(Codes(codes), ASKED)), rowed(codes)
    for i in range(12 * depth):
        chances = slowly(net, as_tokens(ASKED, depth), letters[:, :i]).softmax(1)
        for b in range(2):
            expected = -math.log(chances[b, letters[b, i] % 7])
            assert nats[b, i].item() == pytest.approx(expected, abs=1e-4)
    assert net.loss(Codes(codes), ASKED).item() == pytest.approx(nats.mean().item(), abs=1e-5)


def rowed_nats(nats: Tensor) -> Tensor:
    return nats.flatten(2).transpose(1, 2).flatten(1)


@torch.no_grad()
def test_the_cache_says_what_the_whole_network_says():
    from speechvq.prior.gpt import _Reader
    from speechvq.prior.windows import Windows

    net, letters, windows = made(2), rowed(torch.randint(7, (2, 2, 3, 4))), Windows.over((3, 4), (4, 4))
    parts = net.conditions.read(ASKED, (3, 4), 2, torch.device("cpu"))
    nothing, told = torch.full((2, 1), 14), as_tokens(ASKED, 2)
    for begun in (0, 5, 12):
        reader = _Reader(net, parts, windows, guided=False).begin((0, 0))
        unread = torch.cat([nothing, letters[:, :begun]], dim=1)
        for i in range(begun, 24):
            said, expected = reader.read(unread), slowly(net, told, letters[:, :i])
            assert torch.allclose(said, expected, atol=1e-5)
            unread = letters[:, i : i + 1]


@DEPTHS
@torch.no_grad()
def test_a_code_changes_its_own_cost_and_later_ones_only(depth: int):
    net, codes = made(depth), torch.randint(7, (2, depth, 3, 4))
    other = codes.clone()
    other[:, -1, 1, 2] = (codes[:, -1, 1, 2] + 1) % 7
    changed = rowed_nats(net.nats(Codes(codes), ASKED) - net.nats(Codes(other), ASKED)).abs() > 1e-6
    at = 7 * depth - 1
    assert not changed[:, :at].any()
    assert changed[:, at:].all()


@torch.no_grad()
def test_each_condition_and_its_every_token_matters():
    net, codes = made(), Codes(torch.randint(7, (2, 1, 3, 4)))
    before = net.nats(codes, ASKED)
    for name, values in ASKED.items():
        for i in range(values[0].numel()):
            other = values.clone().view(2, -1)
            other[:, i] = (other[:, i] + 1) % 3
            after = net.nats(codes, ASKED | {name: other.view(values.shape)})
            assert ((after - before).abs() > 1e-6).all()
    one = {name: values[:1] for name, values in ASKED.items()}
    assert torch.equal(net.nats(codes, one)[0], before[0])


def test_padding_costs_nothing_and_is_not_counted():
    net, codes = made(2), torch.randint(7, (2, 2, 3, 4))
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[1, 2] = False
    nats = net.nats(Codes(codes.masked_fill(~mask[:, None], -1), mask), ASKED)
    assert not nats[1, :, 2].any()
    whole = net.nats(Codes(codes), ASKED)
    assert torch.allclose(nats[1, :, :2], whole[1, :, :2], atol=1e-5)
    assert net.loss(Codes(codes, mask), ASKED).item() == pytest.approx(nats.sum().item() / 40, abs=1e-5)


@torch.no_grad()
def test_codes_are_replaced_by_any_in_training_only():
    net = made(2, keep=0.6, blind=0.0, given=(), size=Depth(1, 16, 2, 64, "learned"))
    letters = rowed(torch.randint(7, (500, 2, 3, 4)))
    before, told = net.alphabet.before(letters), torch.full((500, 1), 14)
    seen = []
    net._inputs = lambda told, read: (seen.append(read), GPTPrior._inputs(net, told, read))[1]
    net._logits(before, told)
    assert torch.equal(seen.pop(), letters[:, :-1])
    net.train()
    net._logits(before, told)
    read = seen.pop()
    # One of seven that replace a code is the same again.
    assert (read == letters[:, :-1]).float().mean().item() == pytest.approx(0.6 + 0.4 / 7, abs=0.02)
    assert torch.equal(read // 7, letters[:, :-1] // 7)  # of the same codebook
    drawn = torch.bincount((read % 7)[read != letters[:, :-1]], minlength=7).float()
    assert (drawn / drawn.sum() - 1 / 7).abs().max() < 0.03


@torch.no_grad()
def test_blind_training_hides_all_of_a_condition_at_times():
    net, codes = made(size=Depth(2, 16, 2, 64, "learned"), blind=0.5), torch.randint(7, (1, 1, 3, 4))
    many = Codes(codes.expand(400, -1, -1, -1))
    one = {name: values[:1] for name, values in ASKED.items()}
    told, untold = net.nats(many, one)[0], net.train().nats(many, one)
    same = (untold - told).abs().flatten(1).amax(1) < 1e-5
    assert same.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert untold[~same].std(0).max() < 1e-5
    letters = rowed(codes)
    first = slowly(net, torch.full((1, 3), 7), letters[:, :0]).log_softmax(1)[0, letters[0, 0]]
    assert untold[~same][0, 0, 0, 0].item() == pytest.approx(-first.item(), abs=1e-5)


def test_any_grid_and_coordinates_by_themselves():
    net = made(given=(Given("where", 30, "coordinates", hop=4),), window=(3, 3))
    drawn = net.generate((4, 5), sampling=Sampling(seed=1), count=2)
    assert drawn.indices.shape == (2, 1, 4, 5)
    elsewhere = {"where": torch.randint(30, (1, 1, 4, 5))}
    assert not torch.equal(net.nats(drawn), net.nats(drawn, elsewhere))
    assert made(given=()).generate((9,)).indices.shape == (1, 1, 9)
    assert made(2, given=()).generate((2, 2, 3)).indices.shape == (1, 2, 2, 2, 3)
    assert made(given=()).generate((0, 4)).indices.shape == (1, 1, 0, 4)


def test_held_out_pictures_larger_than_the_window_cost_what_their_midst_does():
    told = (Given("label", 3, "label"), Given("codes", 5))
    net = made(given=told, window=(3, 4)).eval()
    codes = Codes(torch.randint(7, (2, 1, 6, 8)))
    asked = {"label": torch.tensor([0, 2]), "codes": torch.randint(5, (2, 1, 6, 8))}
    midst = {"label": asked["label"], "codes": asked["codes"][..., 1:4, 2:6]}
    wanted = net.nats(Codes(codes.indices[..., 1:4, 2:6]), midst).mean()
    assert torch.allclose(net.loss(codes, asked), wanted)
    assert net.loss(codes, asked).item() != pytest.approx(net.nats(codes, asked).mean().item(), abs=1e-4)


def test_pictures_of_two_classes_are_learned_by_heart():
    torch.manual_seed(0)
    given = (Given("label", 2, "label"), Given("codes", 5))
    size = Depth(layers=2, width=64, heads=4, reach=32, positions="learned")
    net = GPTPrior(7, size=size, given=given, reading=Reading(window=(3, 4)))
    codes = Codes(torch.randint(7, (2, 1, 3, 4)))
    asked = {"label": torch.tensor([0, 1]), "codes": torch.randint(5, (1, 1, 3, 4))}
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(80):
        adam.zero_grad()
        net.loss(codes, asked).backward()
        adam.step()
    assert net.eval().loss(codes, asked).item() < 0.1
    drawn = net.generate((3, 4), asked, Sampling(temperature=0), count=2)
    assert torch.equal(drawn.indices, codes.indices)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    net = made(2, order="z-curve", keep=0.9)
    net.save_pretrained(tmp_path / "prior")
    again, codes = Prior.from_pretrained(tmp_path / "prior"), Codes(torch.randint(7, (2, 2, 3, 4)))
    assert isinstance(again, GPTPrior)
    assert (again.spec, again.given, again.reading) == (net.spec, net.given, net.reading)
    assert torch.equal(again.nats(codes, ASKED), net.nats(codes, ASKED))
    spec = {"name": "gpt", "size": "tiny", "given": [{"name": "label", "kind": "label", "size": 3}]}
    built = PRIORS.build(spec | {"reading": {"window": [8, 8]}}, codebook_size=7)
    assert isinstance(built, GPTPrior)
    assert built.given == (Given("label", 3, "label"),)
    assert built.reading.window == (8, 8)


def test_wrong_codes_and_settings_are_sentences():
    net = made(2)
    with pytest.raises(BadCodes, match="beyond"):
        net.loss(Codes(torch.full((2, 2, 3, 4), 7)), ASKED)
    with pytest.raises(BadSetting, match="is told label"):
        net.generate((3, 4))
    with pytest.raises(BadSetting, match="2 rows of label are given for 3"):
        net.generate((3, 4), ASKED, count=3)
    with pytest.raises(BadSetting, match="more than the 64"):
        made(window=(9, 9)).generate((9, 9), ASKED, count=2)
    for blind, given in ((0.0, TOLD), (0.5, ())):
        with pytest.raises(BadSetting, match="never trained without its condition"):
            made(blind=blind, given=given).generate((3, 4), ASKED, steering=Steering(2.0))
    for wrong, words in (
        ({"window": ()}, "at least one place"),
        ({"window": (4, 0)}, "at least one place"),
        ({"unmasked": -1}, "0 or positive"),
        ({"keep": 0.0}, "above 0"),
        ({"blind": 1.0}, r"in \[0, 1\)"),
        ({"blind": 0.1, "vocabulary": 9}, "no token for a hidden"),
    ):
        with pytest.raises(BadSetting, match=words):
            Reading(**wrong)
    with pytest.raises(BadSetting, match="no room for integers up to 6"):
        made(vocabulary=6, blind=0.0)
    with pytest.raises(BadSetting, match="no size 'vast'"):
        GPTPrior(7, size="vast")
    with pytest.raises(UnknownName, match="num_codebooks"):
        PRIORS.build({"name": "gpt", "given": [{"name": "a", "size": 2, "colour": 1}]}, codebook_size=7)
