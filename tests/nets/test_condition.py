"""Voices by name, row and embedding; the time-jitter."""

import pytest
import torch

from speechvq.errors import BadSetting, UnknownSpeaker
from speechvq.nets.condition import SpeakerCondition, TimeJitter


def test_a_voice_by_name_is_its_row():
    voice = SpeakerCondition(("ann", "bob", "cy"), 8)
    assert torch.equal(voice("bob"), voice(torch.tensor([1])))
    assert voice(torch.tensor([2, 0, 2])).shape == (3, 8)


def test_a_voice_by_embedding_ends_in_the_same_space():
    voice = SpeakerCondition(("ann",), 8)
    made = voice(torch.randn(2, 256))
    assert made.shape == (2, 8)
    made.sum().backward()
    assert voice.projection[0].weight.grad is not None
    assert voice.table.weight.grad is None


def test_an_unknown_voice_is_a_sentence_that_lists_the_known():
    with pytest.raises(UnknownSpeaker, match=r"'zoe'.*ann, bob"):
        SpeakerCondition(("ann", "bob"), 8)("zoe")


def test_without_channels_every_voice_is_nothing():
    voice = SpeakerCondition(("ann", "bob"), 0)
    for speaker in ("ann", torch.tensor([1]), torch.randn(1, 256)):
        assert voice(speaker).shape == (1, 0)
    row, losses = voice.learn({"speaker": torch.tensor([0, 1]), "embedding": torch.randn(2, 256)})
    assert (row.shape, losses) == ((2, 0), {})
    with pytest.raises(UnknownSpeaker):
        voice("zoe")
    with pytest.raises(BadSetting, match="-1 channels"):
        SpeakerCondition(("ann",), -1)


def test_jitter_of_zero_and_in_evaluation_is_the_identity():
    x = torch.randn(2, 3, 20)
    assert torch.equal(TimeJitter(0)(x), x)
    assert torch.equal(TimeJitter(1).eval()(x), x)


def test_jitter_takes_a_vector_or_a_neighbour_at_the_stated_rate():
    torch.manual_seed(0)
    rows, length, probability = 4000, 12, 0.3
    x = torch.arange(length, dtype=torch.float32).expand(rows, 2, length)
    step = TimeJitter(probability)(x) - x
    assert torch.equal(step[:, 0], step[:, 1])
    assert set(step.unique().tolist()) == {-1.0, 0.0, 1.0}
    replaced = (step[:, 0] != 0).float().mean(0)
    assert replaced[1:-1].tolist() == pytest.approx([probability] * (length - 2), abs=0.03)
    assert replaced[[0, -1]].tolist() == pytest.approx([probability / 2] * 2, abs=0.03)
    assert (step[:, 0, 1:-1] == 1).float().mean().item() == pytest.approx(probability / 2, abs=0.01)


def test_jitter_differs_between_the_items_of_a_batch():
    torch.manual_seed(0)
    x = torch.arange(50.0).expand(2, 1, 50)
    first, second = TimeJitter(0.5)(x)
    assert not torch.equal(first, second)


def test_the_gradient_reaches_the_copied_vector():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 30, requires_grad=True)
    out = TimeJitter(0.8)(x)
    out.sum().backward()
    used = torch.tensor([(out == value).sum() for value in x.detach().flatten()], dtype=torch.float32)
    assert x.grad is not None
    assert torch.equal(x.grad[0, 0], used)
    assert x.grad.max() > 1


def test_a_wrong_probability_is_a_sentence():
    with pytest.raises(BadSetting, match="jitter"):
        TimeJitter(1.5)
