"""Drawing from logits: temperature, top-k, top-p, and streams of uniform numbers."""

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling, Uniforms, sample

LOGITS = torch.tensor([0.5, 0.2, 0.05, 0.25]).log()
EVEN = (torch.arange(10_000) + 0.5) / 10_000


def frequencies(sampling: Sampling) -> list[float]:
    drawn = sample(LOGITS.expand(10_000, 4), sampling, EVEN)
    return (torch.bincount(drawn, minlength=4) / 10_000).tolist()


def test_plain_draws_follow_the_probabilities():
    assert frequencies(Sampling()) == pytest.approx([0.5, 0.2, 0.05, 0.25], abs=2e-4)


def test_temperature_sharpens_and_zero_takes_the_likeliest():
    squares = torch.tensor([0.25, 0.04, 0.0025, 0.0625])
    assert frequencies(Sampling(temperature=0.5)) == pytest.approx(
        (squares / squares.sum()).tolist(), abs=2e-4
    )
    assert frequencies(Sampling(temperature=0)) == [1, 0, 0, 0]
    assert frequencies(Sampling(temperature=1e6)) == pytest.approx([0.25] * 4, abs=2e-4)


def test_top_k_keeps_k_and_renormalises():
    assert frequencies(Sampling(top_k=2)) == pytest.approx([2 / 3, 0, 0, 1 / 3], abs=2e-4)
    assert frequencies(Sampling(top_k=1)) == [1, 0, 0, 0]
    assert frequencies(Sampling(top_k=9)) == frequencies(Sampling())


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.4, [1, 0, 0, 0]), (0.6, [2 / 3, 0, 0, 1 / 3]), (0.94, [10 / 19, 4 / 19, 0, 5 / 19])],
)
def test_top_p_keeps_the_smallest_set_that_holds_p(top_p: float, kept: list[float]):
    assert frequencies(Sampling(top_p=top_p)) == pytest.approx(kept, abs=2e-4)


def test_a_category_of_no_probability_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]).expand(4, 5)
    ends = torch.tensor([0.0, 0.5, 1 - 2**-53, 1.0], dtype=torch.float64)
    assert sample(logits, Sampling(), ends).tolist() == [1, 3, 3, 3]


def test_any_number_of_leading_dimensions():
    assert sample(torch.zeros(2, 3, 4, 7), Sampling(), torch.rand(2, 3, 4)).shape == (2, 3, 4)


def test_uniform_streams_belong_to_the_row():
    three, one = Uniforms(5, 3), Uniforms(5, 1)
    first, second = three.draw(4), three.draw(4, rows=2)
    assert first.shape == (3, 4)
    assert second.shape == (2, 4)
    assert torch.equal(torch.cat([first[0], second[0]]), one.draw(8)[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], Uniforms(6, 1).draw(4)[0])


WRONG = [
    {"temperature": -1},
    {"temperature": float("nan")},
    {"top_k": -1},
    {"top_p": 0},
    {"top_p": 2},
    {"seed": -1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_sentences(wrong: dict):
    with pytest.raises(BadSetting):
        Sampling(**wrong)
