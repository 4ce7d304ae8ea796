"""Codes to tokens and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting
from speechvq.prior.tokens import Alphabet, side_by_side


@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(0, 20),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_there_and_back(depth: int, size: int, first: int, grid: list[int]):
    alphabet = Alphabet(size, depth, first)
    indices = torch.randint(size, (2, depth, *grid))
    tokens = alphabet.tokens(Codes(indices))
    again = alphabet.codes(tokens, grid)
    assert torch.equal(again.indices, indices)
    assert again.mask is None
    assert torch.equal(alphabet.numbers(tokens), indices.flatten(2).transpose(1, 2).flatten(1))
    if tokens.numel():
        assert first <= int(tokens.min()) <= int(tokens.max()) < alphabet.nothing


def test_a_stack_is_read_place_by_place_and_codebook_by_codebook():
    alphabet = Alphabet(10, 2, first=100)
    tokens = alphabet.tokens(Codes(torch.tensor([[[1, 2, 3], [4, 5, 6]]])))
    assert tokens.tolist() == [[101, 114, 102, 115, 103, 116]]
    assert alphabet.before(tokens).tolist() == [[120, 101, 114, 102, 115, 103]]
    picture = alphabet.tokens(Codes(torch.tensor([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]])))
    assert picture.tolist() == [[101, 115, 102, 116, 103, 117, 104, 118]]


def test_masked_places_say_nothing():
    alphabet = Alphabet(7, 2)
    indices = torch.randint(7, (2, 2, 5))
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    tokens = alphabet.tokens(Codes(indices, mask))
    assert torch.equal(tokens, alphabet.tokens(Codes(indices.masked_fill(~mask[:, None], -1))))
    assert tokens[1, 6:].tolist() == [alphabet.nothing] * 4
    again = alphabet.codes(tokens)
    assert again.mask is not None
    assert torch.equal(again.mask, mask)
    assert torch.equal(again.indices, indices.masked_fill(~mask[:, None], -1))
    assert alphabet.numbers(tokens)[1, 6:].tolist() == [0] * 4


def test_alphabets_side_by_side_share_no_token():
    speech, text, picture = side_by_side(Alphabet(512), Alphabet(30), Alphabet(64, 4))
    assert (speech.first, text.first, picture.first) == (0, 513, 544)
    used = [set(range(a.first, a.first + a.size)) for a in (speech, text, picture)]
    assert set.union(*used) == set(range(sum(map(len, used))))
    with pytest.raises(BadCodes, match="not of this alphabet"):
        text.codes(speech.tokens(Codes(torch.tensor([[[3]]]))))


def test_what_cannot_be():
    alphabet = Alphabet(7, 2)
    with pytest.raises(BadCodes, match="shape"):
        alphabet.tokens(Codes(torch.zeros(1, 3, 4, dtype=torch.int64)))
    with pytest.raises(BadCodes, match="beyond"):
        alphabet.tokens(Codes(torch.full((1, 2, 4), 7)))
    with pytest.raises(BadCodes, match="3 tokens"):
        alphabet.codes(torch.zeros(1, 3, dtype=torch.int64), (2,))
    with pytest.raises(BadCodes, match="first codebook"):
        alphabet.codes(torch.tensor([[7, 0]]))
    for wrong in (
        {"codebook_size": 0},
        {"codebook_size": 7, "num_codebooks": 0},
        {"codebook_size": 7, "first": -1},
    ):
        with pytest.raises(BadSetting):
            Alphabet(**wrong)
