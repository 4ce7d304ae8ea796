"""The WaveNet prior: loss in nats, causality, cached generation, learning, saving."""

import math

import pytest
import torch

from speechvq.codec import Codes
from speechvq.errors import BadCheckpoint, BadCodes, BadSetting, UnknownName
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.wavenet import Stack
from speechvq.prior import PRIORS, Prior, WaveNetPrior

SMALL = Stack(layers=6, stacks=2, residual=16, gate=16, skip=16, post=16)


def prior(depth: int = 1, **more) -> WaveNetPrior:
    torch.manual_seed(0)
    return WaveNetPrior(7, num_codebooks=depth, size=SMALL, **more).eval()


def test_uniform_logits_cost_the_logarithm_of_the_codebook_size():
    net = prior(2)
    torch.nn.init.zeros_(net.net.post[-1].weight)
    torch.nn.init.zeros_(net.net.post[-1].bias)
    loss = net.loss(Codes(torch.randint(7, (3, 2, 11))))
    assert loss.item() == pytest.approx(math.log(7), abs=1e-6)


def test_padding_does_not_count():
    net = prior(2)
    indices = torch.randint(7, (2, 2, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    whole, part = net.loss(Codes(indices[:1])), net.loss(Codes(indices[1:, :, :4]))
    together = net.loss(Codes(indices.masked_fill(~mask[:, None], -1), mask))
    assert together.item() == pytest.approx((9 * whole.item() + 4 * part.item()) / 13, abs=1e-5)
    assert net.loss(Codes(indices, mask)).item() == pytest.approx(together.item(), abs=1e-6)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_last_code_changes_only_its_own_cost(depth: int):
    net = prior(depth)
    first = torch.randint(7, (1, depth, 8))
    other = first.clone()
    other[0, -1, -1] = (first[0, -1, -1] + 1) % 7
    costs = [net.loss(Codes(i)) * 8 * depth for i in (first, other)]
    last = torch.ones(1, 8, dtype=torch.bool)
    last[0, -1] = False
    assert torch.equal(net.loss(Codes(first, last)), net.loss(Codes(other, last)))
    assert costs[0] != costs[1]


@pytest.mark.parametrize("depth", [1, 3])
def test_cached_generation_is_the_whole_network_with_the_same_noise(depth: int):
    net = prior(depth, speakers=("ann", "bob"))
    rows = torch.tensor([1, 0])
    sampling = Sampling(temperature=0.8, top_p=0.9, seed=5)
    codes = net.generate((10,), {"speaker": rows}, sampling, count=2)
    assert codes.indices.shape == (2, depth, 10)
    flat = codes.indices.transpose(1, 2).flatten(1)
    logits = net.net(net._inputs(flat), net._conditions({"speaker": rows}))
    again = sample(logits.transpose(1, 2), sampling, Uniforms(5, 2).draw(10 * depth))
    assert torch.equal(again, flat)


def test_equal_seeds_give_equal_codes():
    net = prior()
    first, again, other = (net.generate((30,), sampling=Sampling(seed=s)).indices for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert net.generate((0,)).indices.shape == (1, 1, 0)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_short_sequence_is_learned_by_heart(depth: int):
    torch.manual_seed(0)
    net = WaveNetPrior(7, num_codebooks=depth, size="tiny", speakers=("ann", "bob"))
    codes, rows = Codes(torch.randint(7, (2, depth, 24))), {"speaker": torch.tensor([0, 1])}
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(80):
        adam.zero_grad()
        net.loss(codes, rows).backward()
        adam.step()
    assert net.loss(codes, rows).item() < 0.1
    made = net.eval().generate((24,), rows, Sampling(temperature=0), count=2)
    assert torch.equal(made.indices, codes.indices)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    net = prior(2, codec="abc123")
    net.save_pretrained(tmp_path / "prior")
    again = Prior.from_pretrained(tmp_path / "prior")
    codes = Codes(torch.randint(7, (1, 2, 8)))
    assert torch.equal(again.loss(codes), net.loss(codes))
    assert again.codec == "abc123"
    assert not again.training
    (tmp_path / "prior" / "config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="no prior"):
        Prior.from_pretrained(tmp_path / "prior")


def test_wrong_codes_and_settings_are_sentences():
    net = prior(2, speakers=("ann",))
    rows = {"speaker": torch.tensor([0])}
    with pytest.raises(BadCodes, match="beyond"):
        net.loss(Codes(torch.full((1, 2, 3), 7)), rows)
    with pytest.raises(BadCodes, match="shape"):
        net.loss(Codes(torch.zeros(1, 1, 3, dtype=torch.int64)), rows)
    with pytest.raises(BadSetting, match="which speaker"):
        net.generate((3,))
    with pytest.raises(BadSetting, match="no size"):
        PRIORS.build({"name": "wavenet", "codebook_size": 7, "size": "vast"})
    with pytest.raises(UnknownName):
        PRIORS.build({"name": "markov"})
