"""The residual prior: what it costs and draws, beside the network without a cache; told, untold, taught."""

from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.prior import PRIORS, Prior, ResidualPrior, Steering
from speechvq.prior.residual_settings import Sizes, Told
from speechvq.prior.residual_step import Steps
from speechvq.prior.sampling import guide, steer

SIZE = Sizes(places=2, depths=2, width=16, heads=2, dropout=0.3)
SHORT = Sizes(places=2, depths=1, width=16, heads=2, reach=4, classifiers="own")
NAMES = ("ann", "bob", "eve")
KINDS: dict[str, dict[str, Any]] = {
    "picture": {"grid": (4, 4), "channels": 6, "labels": NAMES, "told": Told(blind=0.5)},
    "sound": {"size": SHORT, "speakers": NAMES, "shared": False, "told": Told(blind=0.5)},
    "sound of a codec": {"size": SHORT, "channels": 6, "shared": False},
    "untold": {"grid": (12,), "shared": True},
    "one block": {"grid": (4, 4), "channels": 6, "size": Sizes(places=1, depths=1, width=16, heads=2)},
    "text": {"grid": (4, 5), "channels": 6, "told": Told(words=9, length=3)},
}
EVERY = pytest.mark.parametrize("kind", sorted(KINDS))


def made(kind: str = "picture", **more: Any) -> ResidualPrior:
    """Over three codebooks of 7 codes."""
    torch.manual_seed(0)
    net = ResidualPrior(7, **{"num_codebooks": 3, "size": SIZE} | KINDS[kind] | more).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    if net.channels:
        net.take(torch.randn(net.vectors.shape))
    return net


def asked(kind: str) -> dict[str, Tensor]:
    words = torch.tensor([[1, 8, 0], [3, 3, 5]])
    return {"label": torch.tensor([2, 0]), "speaker": torch.tensor([2, 0]), "text": words}


def grid_of(net: ResidualPrior) -> tuple[int, ...]:
    return (3, 4) if len(net.grid) == 2 else (11,)


def some(net: ResidualPrior, count: int = 2) -> Tensor:
    return torch.randint(7, (count, 3, *grid_of(net)))


def rowed(x: Tensor) -> Tensor:
    """(B, K, *grid, ...) to (B, L, ...), depth after depth at each place."""
    places = x.flatten(2, 3) if len(x.shape) > 3 and x.shape[2:4] == (3, 4) else x
    return places.transpose(1, 2).flatten(1, 2)


@EVERY
@torch.no_grad()
def test_the_cache_says_what_the_whole_network_says(kind: str):
    net = made(kind)
    codes, grid = some(net), grid_of(net)
    whole = rowed(net.logits(Codes(codes), asked(kind)))
    row = rowed(codes).unflatten(1, (-1, 3))
    for begun in (0, 1, 7):
        steps = Steps(net, net._tell(asked(kind), 2), grid)
        for place in range(begun, row.shape[1]):
            steps.place(row[:, :begun] if place == begun else None)
            for book in range(3):
                assert torch.allclose(steps.logits(book), whole[:, 3 * place + book], atol=1e-5)
                steps.take(row[:, place, book], book)


@EVERY
@pytest.mark.parametrize(
    "steering", [Steering(), Steering(penalty=1.5, window=3, max_run=2, no_repeat=3), Steering(2.5)]
)
@torch.no_grad()
def test_codes_are_drawn_from_what_the_whole_network_says(kind: str, steering: Steering):
    net, condition = made(kind), asked(kind)
    if steering.guidance != 1 and not net.told.blind:
        with pytest.raises(BadSetting, match="guide"):
            net.generate(grid_of(net), condition, steering=steering, count=2)
        return
    each = [Sampling(0.8, top_k=5, seed=5), Sampling(top_p=0.9), Sampling(temperature=0)]
    codes = net.generate(grid_of(net), condition, each, steering=steering, count=2)
    assert codes.indices.shape == (2, 3, *grid_of(net))
    said = rowed(net.logits(codes, condition))
    if steering.guidance != 1:
        nobody = {name: torch.tensor([3]) for name in ("label", "speaker")}
        said = guide(said, rowed(net.logits(codes, nobody)), steering.guidance)
    row = rowed(codes.indices)
    uniforms = Uniforms(5, 2).draw(row.shape[1])
    for i in range(row.shape[1]):
        logits = steer(said[:, i], row[:, i % 3 : i : 3], steering)
        assert torch.equal(sample(logits, each[i % 3], uniforms[:, i]), row[:, i])


@EVERY
@torch.no_grad()
def test_a_code_changes_what_is_said_of_later_ones_only(kind: str):
    net = made(kind)
    codes, condition = some(net), asked(kind)
    before = rowed(net.logits(Codes(codes), condition))
    for depth in range(3):
        other = codes.clone()
        other[:, depth].view(2, -1)[:, 6] += 1
        changed = (rowed(net.logits(Codes(other % 7), condition)) - before).abs().amax(2) > 1e-6
        at = 3 * 6 + depth + 1
        assert not changed[:, :at].any()
        assert changed[:, at:].all()


@EVERY
@torch.no_grad()
def test_items_do_not_see_one_another_and_each_its_own_condition(kind: str):
    net = made(kind)
    codes, condition = some(net), asked(kind)
    both = net.logits(Codes(codes), condition)
    alone = net.logits(Codes(codes[1:]), {name: values[1:] for name, values in condition.items()})
    assert torch.allclose(both[1:], alone, atol=1e-5)
    turned = net.logits(Codes(codes.flip(0)), {name: values.flip(0) for name, values in condition.items()})
    assert torch.allclose(both, turned.flip(0), atol=1e-5)
    if net.begin is None or net.told.words:
        other = {name: torch.cat([values[:1], values[1:] + 1]) for name, values in condition.items()}
        changed = (net.logits(Codes(codes), other) - both).abs().flatten(1).amax(1)
        assert changed[0] == 0
        assert changed[1] > 1e-3


@EVERY
@torch.no_grad()
def test_costs_are_those_of_the_logits_and_padding_has_none(kind: str):
    net, condition = made(kind), asked(kind)
    codes = some(net)
    chances = net.logits(Codes(codes), condition).log_softmax(-1)
    expected = -chances.gather(-1, codes[..., None])[..., 0]
    assert torch.allclose(net.nats(Codes(codes), condition), expected, atol=1e-5)
    mask = torch.ones(2, *grid_of(net), dtype=torch.bool)
    mask[1, 2:] = False
    for absent in (Codes(codes, mask), Codes(codes.masked_fill(~mask[:, None], -1))):
        nats = net.nats(absent, condition)
        assert not nats[1, :, 2:].any()
        assert torch.allclose(nats[1, :, :2], expected[1, :, :2], atol=1e-5)
        if not net.told.words:
            mean = nats.sum().item() / (3 * int(mask.sum()))
            assert net.loss(absent, condition).item() == pytest.approx(mean, abs=1e-5)


@EVERY
def test_what_is_given_is_gone_on_from(kind: str):
    net, condition, sampling = made(kind), asked(kind), Sampling(seed=3)
    whole = net.generate(grid_of(net), condition, sampling, count=2).indices
    for given in (0, 1, 3):
        again = net.generate(grid_of(net), condition, sampling, prefix=Codes(whole[:, :, :given]), count=2)
        assert torch.equal(again.indices, whole)
    assert torch.equal(net.generate(grid_of(net), condition, sampling, count=2).indices, whole)
    other = net.generate(grid_of(net), condition, Sampling(seed=4), count=2).indices
    assert not torch.equal(other, whole)
    with pytest.raises(BadCodes, match="no beginning"):
        net.generate((2, 2), condition, prefix=Codes(whole), count=2)


@torch.no_grad()
def test_the_text_before_the_codes_has_a_share_in_the_loss():
    net, condition = made("text"), asked("text")
    codes = Codes(some(net))
    words = condition["text"]
    x = net.begin(words) + net.net.at_begin
    for block in net.net.places:
        x = block(x, None)
    said = net.spell(x)[:, :-1].log_softmax(-1)
    text = -said.gather(2, words[:, 1:, None]).mean()
    expected = 0.9 * net.nats(codes, condition).mean() + 0.1 * text
    assert net.loss(codes, condition).item() == pytest.approx(expected.item(), abs=1e-5)


@torch.no_grad()
def test_a_smaller_grid_has_the_same_places_and_a_larger_one_none():
    net = made()
    assert torch.equal(net.net.positions((2, 3)).view(2, 3, 16), net.net.at_place.view(4, 4, 16)[:2, :3])
    for grid in ((5, 4), (4, 5), (4,), (4, 4, 1)):
        with pytest.raises(BadSetting, match="does not fit"):
            net.nats(Codes(torch.zeros(2, 3, *grid, dtype=torch.int64)), asked("picture"))
        with pytest.raises(BadSetting, match="does not fit"):
            net.generate(grid, asked("picture"), count=2)
    assert net.generate((0, 4), asked("picture"), count=2).indices.shape == (2, 3, 0, 4)
    assert made("sound").generate((40,), asked("sound"), count=2).indices.shape == (2, 3, 40)


def test_names_are_hidden_in_training_at_times():
    net = made("picture", size=Sizes(1, 1, 16, 2))
    codes = Codes(some(net, 1).expand(400, -1, -1, -1))
    told, nobody = ({"label": torch.tensor([row])} for row in (2, 3))
    with torch.no_grad():
        known, unknown = (net.nats(codes, c)[0] for c in (told, nobody))
        nats = net.train().nats(codes, told)
    share = [(nats - one).abs().flatten(1).amax(1) < 1e-5 for one in (known, unknown)]
    assert (share[0] ^ share[1]).all()
    assert share[1].float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_codecs_vectors_are_read_saved_and_not_learned(tmp_path):
    net, codes = made(), some(made())
    assert not net.vectors.requires_grad
    assert all(p is not net.vectors for p in net.parameters())
    before = net.nats(Codes(codes), asked("picture"))
    net.save_pretrained(tmp_path / "prior")
    again = Prior.from_pretrained(tmp_path / "prior")
    assert isinstance(again, ResidualPrior)
    assert (again.spec, again.size, again.told) == (net.spec, net.size, net.told)
    assert torch.equal(again.nats(Codes(codes), asked("picture")), before)
    vectors = torch.randn(7, 6)
    net.take(vectors.expand(3, -1, -1))  # three times the same
    assert torch.equal(net.vectors, vectors[None])
    assert not torch.allclose(net.nats(Codes(codes), asked("picture")), before)
    for wrong in (torch.randn(7, 5), torch.randn(3, 7, 6)):
        with pytest.raises(BadSetting, match="takes"):
            net.take(wrong)
    with pytest.raises(BadSetting, match="its own"):
        made("untold").take(torch.randn(7, 16))


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_codes_are_learned_by_heart(kind: str):
    torch.manual_seed(0)
    size = Sizes(places=2, depths=1, width=48, heads=4)
    net = ResidualPrior(7, **{"num_codebooks": 3} | KINDS[kind] | {"size": size, "told": Told()})
    if net.channels:
        net.take(torch.randn(net.vectors.shape))
    codes, condition = Codes(some(net)), asked(kind)
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(100):
        adam.zero_grad()
        net.loss(codes, condition).backward()
        adam.step()
    assert net.eval().loss(codes, condition).item() < 0.1
    drawn = net.generate(grid_of(net), condition, Sampling(temperature=0), count=2)
    assert torch.equal(drawn.indices, codes.indices)


@torch.no_grad()
def test_a_codebook_alone_needs_no_blocks_over_depths():
    with pytest.raises(BadSetting, match="over depths"):
        made(size=Sizes(places=2, depths=0, width=16, heads=2))
    net = made(num_codebooks=1, size=Sizes(places=2, depths=0, width=16, heads=2))
    codes = net.generate((3, 4), asked("picture"), Sampling(temperature=0), count=2)
    assert torch.equal(net.logits(codes, asked("picture")).argmax(-1), codes.indices)


def test_wrong_codes_and_settings_are_sentences():
    net, condition = made(), asked("picture")
    with pytest.raises(BadCodes, match="beyond"):
        net.loss(Codes(torch.full((2, 3, 3, 4), 7)), condition)
    with pytest.raises(BadCodes, match="shape"):
        net.loss(Codes(torch.zeros(2, 2, 3, 4, dtype=torch.int64)), condition)
    with pytest.raises(BadSetting, match="which label"):
        net.generate((3, 4))
    with pytest.raises(BadSetting, match="2 ways to draw"):
        net.generate((3, 4), condition, [Sampling()] * 2, count=2)
    texts = made("text")
    for words, says in (([[1, 2]], "3\\) tokens"), ([[1, 2, 9]], "beyond"), ([[1, 2, 3]] * 3, "3 texts")):
        with pytest.raises(BadSetting, match=says):
            texts.generate((4, 5), {"text": torch.tensor(words)}, count=2)
    for settings, says in (
        ({"size": "vast"}, "no size"),
        ({"told": {"words": 9}, "labels": ["a"]}, "not both"),
        ({"grid": [0, 3]}, "cannot be"),
        ({"size": {"depths": -1}}, "-1 blocks"),
        ({"size": {"classifiers": "no"}}, "classifiers"),
        ({"told": {"blind": 1}}, "blind"),
        ({"told": {"words": 9, "blind": 0.1}}, "hidden"),
        ({"told": {"weight": 2}}, "weight"),
    ):
        with pytest.raises(BadSetting, match=says):
            PRIORS.build({"name": "residual", "codebook_size": 7} | settings)
