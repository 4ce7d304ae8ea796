"""What all priors that read codes in a row have in common: what a row costs, and how one is written.

A row is the tokens of `speechvq.prior.tokens`. Letters of the shapes: B sequences of L tokens, Q codes
in a codebook, R rows that a network reads at a time: B, or 2 B when each sequence is read a second time
without its condition, for guidance.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from speechvq.codec import Codes, evaluating
from speechvq.errors import BadCodes
from speechvq.losses.likelihood import categorical_nll
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.prior.sampling import Steering, guide, steer
from speechvq.prior.tokens import Alphabet


class Reader(Protocol):
    """A network in the midst of R rows; what it has read it remembers."""

    def read(self, tokens: Tensor) -> Tensor:
        """Logits (R, Q) of the code that comes after the next tokens (R, n), n at least 1."""
        ...


def row_nats(alphabet: Alphabet, codes: Codes, logits: Callable[[Tensor], Tensor]) -> Tensor:
    """Nats of each code given those before it.

    Args:
        alphabet: of the codes.
        codes: (B, K, *grid).
        logits: what the network says of tokens (B, L): (B, Q, L), at each place from those before it.

    Returns:
        (B, K, *grid), zero where there is no code.

    Raises:
        BadCodes: codes that are not of the alphabet.
    """
    tokens = alphabet.tokens(codes)
    nats = categorical_nll(logits(alphabet.before(tokens)), alphabet.numbers(tokens))
    nats = nats.masked_fill(tokens == alphabet.nothing, 0)
    return nats.unflatten(1, (-1, alphabet.num_codebooks)).transpose(1, 2).reshape(codes.indices.shape)


def each_book(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Logits (..., K, Q) of features (..., K, D), those of each codebook by its own part of a last layer.

    Args:
        h: features.
        weight: (K Q, D), one codebook's after the other's.
        bias: (K Q,), or None for none.
    """
    books = (h.shape[-2], -1)
    logits = torch.einsum("...kd,kqd->...kq", h, weight.unflatten(0, books))
    return logits if bias is None else logits + bias.unflatten(0, books)


@contextmanager
def writing(prior: nn.Module) -> Iterator[None]:
    """Evaluation mode and full precision inside: for the whole of `Prior.generate`, what is told included.

    Weights that are laid out for single steps do not follow mixed precision, so nothing beside them may.
    """
    with evaluating(prior), torch.autocast(next(prior.parameters()).device.type, enabled=False):
        yield


def write_row(
    reader: Reader,
    alphabet: Alphabet,
    grid: tuple[int, ...],
    sampling: Sampling,
    *,
    steering: Steering,
    given: Tensor,
) -> Codes:
    """New codes (B, K, *grid), drawn one after the other, inside of `writing`.

    The number that decides a place depends on the seed, the sequence and the place only; so what was
    drawn before is drawn again when the first part of it is given.

    Args:
        reader: at the beginning of B rows, or of 2 B when ``steering.guidance`` is not 1.
        alphabet: of the codes.
        grid: places.
        sampling: how to draw.
        steering: what the past and the condition do to the logits first.
        given: (B, P) tokens that the row begins with, from `given_tokens`.
    """
    depth, count = alphabet.num_codebooks, len(given)
    length, begun = depth * math.prod(grid), given.shape[1]
    uniforms = Uniforms(sampling.seed, count).draw(length).to(given.device).unbind(1)
    said = given.new_zeros(count, length)  # numbers of codes
    said[:, :begun] = alphabet.numbers(given)
    places, rules = said.unbind(1), replace(steering, guidance=1.0) != Steering()
    unread = torch.cat([given.new_full((count, 1), alphabet.nothing), given], dim=1)
    # In inference mode a call costs less; what is handed out was made outside of it.
    with torch.inference_mode():
        for place in range(begun, length):
            book = place % depth
            if steering.guidance == 1:
                logits = reader.read(unread)
            else:
                known, unknown = reader.read(unread.repeat(2, 1)).chunk(2)
                logits = guide(known, unknown, steering.guidance)
            if rules:
                logits = steer(logits.float(), said[:, book:place:depth], steering)
            code = sample(logits.float(), sampling, uniforms[place])
            places[place].copy_(code)
            unread = (code + (alphabet.first + book * alphabet.codebook_size)).unsqueeze(1)
    return Codes(said.unflatten(1, (-1, depth)).transpose(1, 2).unflatten(2, grid).contiguous())


def given_tokens(
    alphabet: Alphabet, prefix: Codes | None, grid: tuple[int, ...], count: int, *, device: torch.device
) -> Tensor:
    """The tokens (count, P) that new codes are to begin with; without a prefix P is 0.

    Args:
        alphabet: of the codes.
        prefix: (1 or count, K, *part of the grid), of which all but the first axis are the grid's.
        grid: of the whole.
        count: sequences.
        device: where they are wanted.

    Raises:
        BadCodes: a prefix of another alphabet, with masked places, or that does not fit the grid.
    """
    if prefix is None:
        return torch.zeros(count, 0, dtype=torch.int64, device=device)
    tokens, part = alphabet.tokens(prefix), tuple(prefix.indices.shape[2:])
    if bool((tokens == alphabet.nothing).any()):
        raise BadCodes("the codes to go on from have masked places; cut them off first")
    if len(part) != len(grid) or part[1:] != grid[1:] or part[0] > grid[0]:
        raise BadCodes(f"codes on the grid {part} are no beginning of codes on the grid {grid}")
    if len(tokens) not in (1, count):
        raise BadCodes(f"{len(tokens)} beginnings are given for {count} sequences; give one, or one each")
    return tokens.expand(count, -1).to(device)
