"""What holds for every prior that reads codes in a row: cost, causality, caches, continuing, guidance."""

import math

import pytest
import torch

from speechvq.codec import Codes
from speechvq.errors import BadCheckpoint, BadCodes, BadSetting, UnknownName
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.prior import PRIORS, Prior, Steering
from speechvq.prior.sampling import guide, steer

DEPTHS = pytest.mark.parametrize("depth", [1, 3])
NAMES = ("ann", "bob")


def test_a_prior_that_knows_nothing_costs_the_logarithm_of_the_codebook_size(prior):
    net = prior(2)
    last = net.leave if hasattr(net, "leave") else net.net.post[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    codes = Codes(torch.randint(7, (3, 2, 11)))
    assert net.loss(codes).item() == pytest.approx(math.log(7), abs=1e-6)
    assert net.nats(codes).shape == (3, 2, 11)


@DEPTHS
def test_costs_are_those_of_the_logits(prior, logits, depth: int):
    net = prior(depth, speakers=NAMES)
    codes, who = Codes(torch.randint(7, (2, depth, 5))), {"speaker": torch.tensor([1, 0])}
    nats = net.nats(codes, who).detach()
    tokens = net.alphabet.tokens(codes)
    chances = logits(net, net.alphabet.before(tokens), who).detach().softmax(-1)
    for b in range(2):
        for i in range(5 * depth):
            place, book = divmod(i, depth)
            code = int(codes.indices[b, book, place])
            assert nats[b, book, place].item() == pytest.approx(-math.log(chances[b, i, code]), abs=1e-4)


@DEPTHS
def test_in_mixed_precision_it_writes_the_same(prior, depth: int):
    """What it is told included, on which many draws depend."""
    net, asked = prior(depth, speakers=NAMES), {"condition": {"speaker": torch.tensor([1])}, "count": 300}
    wanted = net.generate((9,), **asked).indices
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.generate((9,), **asked).indices, wanted)


@DEPTHS
def test_padding_does_not_count(prior, depth: int):
    net = prior(depth)
    indices = torch.randint(7, (2, depth, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    whole, part = net.loss(Codes(indices[:1])), net.loss(Codes(indices[1:, :, :4]))
    together = net.loss(Codes(indices.masked_fill(~mask[:, None], -1), mask))
    assert together.item() == pytest.approx((9 * whole.item() + 4 * part.item()) / 13, abs=1e-5)
    assert net.loss(Codes(indices, mask)).item() == pytest.approx(together.item(), abs=1e-6)
    nats = net.nats(Codes(indices, mask))
    assert not nats[1, :, 4:].any()
    assert nats[1, :, :4].mean().item() == pytest.approx(part.item(), abs=1e-5)


@DEPTHS
def test_a_code_changes_its_own_cost_and_later_ones_only(prior, depth: int):
    net = prior(depth)
    first = torch.randint(7, (1, depth, 8))
    other = first.clone()
    other[0, -1, 4] = (first[0, -1, 4] + 1) % 7
    rows = [net.nats(Codes(i)).transpose(1, 2).flatten() for i in (first, other)]
    changed = (rows[0] - rows[1]).abs() > 1e-6
    at = 5 * depth - 1
    assert not changed[:at].any()
    assert changed[at:].all()


@DEPTHS
@pytest.mark.parametrize(
    "steering", [Steering(), Steering(2.5, penalty=1.5, window=3, max_run=2, no_repeat=3)]
)
def test_cached_generation_is_the_whole_network_at_every_place(prior, logits, depth: int, steering: Steering):
    net = prior(depth, speakers=NAMES, speaker_dropout=0.5)
    who, nobody = {"speaker": torch.tensor([1, 0])}, {"speaker": torch.tensor([2, 2])}
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=5)
    codes = net.generate((10,), who, sampling, steering=steering, count=2)
    assert codes.indices.shape == (2, depth, 10)
    assert codes.mask is None
    flat, uniforms = codes.indices.transpose(1, 2).flatten(1), Uniforms(5, 2).draw(10 * depth)
    before = net.alphabet.before(net.alphabet.tokens(codes))
    for i in range(10 * depth):
        known, unknown = (logits(net, before[:, : i + 1], c)[:, -1] for c in (who, nobody))
        wanted = known if steering.guidance == 1 else guide(known, unknown, steering.guidance)
        wanted = steer(wanted, flat[:, i % depth : i : depth], steering)
        assert torch.equal(sample(wanted, sampling, uniforms[:, i]), flat[:, i])


@DEPTHS
@torch.no_grad()
def test_what_the_cache_says_is_what_the_whole_network_says(prior, logits, depth: int):
    net = prior(depth)
    tokens = net.alphabet.before(net.alphabet.tokens(Codes(torch.randint(7, (2, depth, 12)))))
    whole = logits(net, tokens)
    # One reader is fed the beginning in one piece, the other token by token.
    for pieces in ([1] * 12 * depth, [5 * depth + 1, *[1] * (7 * depth - 1)]):
        reader, end = _reader(net, 12 * depth), 0
        for piece in tokens.split(pieces, dim=1):
            end += piece.shape[1]
            said = reader.read(piece)
            assert torch.allclose(said, whole[:, end - 1], atol=1e-5)
            assert torch.equal(said.argmax(-1), whole[:, end - 1].argmax(-1))


def _reader(net, places: int):
    from speechvq.prior import transformer, wavenet

    if net.spec["name"] == "transformer":
        return transformer._Reader(net, None, places=places)
    return wavenet._Reader(net, net._conditions(None, 2))


@DEPTHS
def test_what_is_given_is_gone_on_from(prior, depth: int):
    net = prior(depth, speakers=NAMES)
    who, sampling = {"speaker": torch.tensor([0, 1])}, Sampling(seed=3)
    whole = net.generate((9,), who, sampling, count=2).indices
    for given in (0, 1, 4, 9):
        again = net.generate((9,), who, sampling, prefix=Codes(whole[:, :, :given]), count=2)
        assert torch.equal(again.indices, whole)
    one = Codes(torch.randint(7, (1, depth, 4)))
    both = net.generate((9,), who, sampling, prefix=one, count=2).indices
    assert torch.equal(both[:, :, :4], one.indices.expand(2, -1, -1))
    assert not torch.equal(both, whole)


def test_what_cannot_be_gone_on_from(prior):
    net = prior(2)
    for prefix, words in (
        (torch.zeros(1, 1, 3, dtype=torch.int64), "shape"),
        (torch.full((1, 2, 3), 7), "beyond"),
        (torch.full((1, 2, 3), -1), "masked"),
        (torch.zeros(1, 2, 6, dtype=torch.int64), "no beginning"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.int64), "no beginning"),
        (torch.zeros(3, 2, 3, dtype=torch.int64), "3 beginnings"),
    ):
        with pytest.raises(BadCodes, match=words):
            net.generate((5,), prefix=Codes(prefix), count=2)


def test_equal_seeds_give_equal_codes_whatever_the_mode(prior):
    net = prior()
    first, again, other = (net.generate((30,), sampling=Sampling(seed=s)).indices for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(net.train().generate((30,), sampling=Sampling(seed=1)).indices, first)
    assert net.training
    assert net.generate((0,)).indices.shape == (1, 1, 0)


def test_rules_about_repetition_are_kept(prior):
    net = prior(2)
    made = net.generate((40,), sampling=Sampling(0.2), steering=Steering(max_run=2), count=3).indices
    assert not ((made[..., 2:] == made[..., 1:-1]) & (made[..., 1:-1] == made[..., :-2])).any()
    made = net.generate((30,), sampling=Sampling(0.2), steering=Steering(no_repeat=3), count=3).indices
    for row in made.flatten(0, 1).tolist():
        grams = list(zip(row, row[1:], row[2:], strict=False))
        for i, gram in enumerate(grams):
            # A second time only where all seven ways on had been taken.
            assert gram not in grams[:i] or len({g for g in grams[:i] if g[:2] == gram[:2]}) == 7


def test_nobody_is_learned_in_training_only_and_can_be_guided_away_from(prior):
    net = prior(speakers=NAMES, speaker_dropout=0.5)
    codes, who = Codes(torch.randint(7, (64, 1, 3))), {"speaker": torch.tensor([1])}
    rows = net.speaker(who, 64)
    assert torch.equal(rows, net.speaker.table.weight[1].expand(64, -1))
    net.train()
    heard = (net.speaker(who, 4000) == net.speaker.table.weight[2]).all(1).float().mean().item()
    assert heard == pytest.approx(0.5, abs=0.05)
    net.eval()
    costs = [net.loss(codes, {"speaker": torch.tensor([i])}).item() for i in range(3)]
    assert len(set(costs)) == 3
    unguided = prior(speakers=NAMES)
    with pytest.raises(BadSetting, match="never trained without"):
        unguided.generate((3,), who, steering=Steering(2.0))
    with pytest.raises(BadSetting, match="no speakers"):
        prior().generate((3,), steering=Steering(2.0))


@pytest.mark.parametrize("name", ["wavenet", "transformer"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_short_sequence_is_learned_by_heart(name: str, depth: int):
    torch.manual_seed(0)
    net = PRIORS[name](7, num_codebooks=depth, size="tiny", speakers=NAMES)
    codes, rows = Codes(torch.randint(7, (2, depth, 16))), {"speaker": torch.tensor([0, 1])}
    adam = torch.optim.Adam(net.parameters(), lr=1e-2 if name == "wavenet" else 2e-3)
    for _ in range(60):
        adam.zero_grad()
        net.loss(codes, rows).backward()
        adam.step()
    assert net.loss(codes, rows).item() < 0.1
    made = net.eval().generate((16,), rows, Sampling(temperature=0), count=2)
    assert torch.equal(made.indices, codes.indices)


def test_saved_and_loaded_it_says_the_same(prior, tmp_path):
    net = prior(2, codec="abc123", speakers=NAMES, speaker_dropout=0.1)
    net.save_pretrained(tmp_path / "prior")
    again = Prior.from_pretrained(tmp_path / "prior")
    codes, who = Codes(torch.randint(7, (1, 2, 8))), {"speaker": torch.tensor([1])}
    assert torch.equal(again.loss(codes, who), net.loss(codes, who))
    assert again.spec == net.spec
    assert not again.training
    again.check("abc123")
    with pytest.raises(BadCodes, match="another codec"):
        again.check("abc124")
    (tmp_path / "prior" / "config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="no prior"):
        Prior.from_pretrained(tmp_path / "prior")


def test_wrong_codes_and_settings_are_sentences(prior):
    net = prior(2, speakers=NAMES)
    rows = {"speaker": torch.tensor([0])}
    with pytest.raises(BadCodes, match="beyond"):
        net.loss(Codes(torch.full((1, 2, 3), 7)), rows)
    with pytest.raises(BadCodes, match="shape"):
        net.loss(Codes(torch.zeros(1, 1, 3, dtype=torch.int64)), rows)
    with pytest.raises(BadSetting, match="which speaker"):
        net.generate((3,))
    with pytest.raises(BadSetting, match="2 speakers are given for 3"):
        net.generate((3,), {"speaker": torch.tensor([0, 1])}, count=3)
    with pytest.raises(BadSetting, match="no size"):
        PRIORS.build({"name": net.spec["name"], "codebook_size": 7, "size": "vast"})
    with pytest.raises(BadSetting, match="dropout of the speaker"):
        prior(speakers=NAMES, speaker_dropout=1.0)
    with pytest.raises(UnknownName, match="ann, bob"):
        net.speaker.row("eve")
    with pytest.raises(UnknownName):
        PRIORS.build({"name": "markov"})
