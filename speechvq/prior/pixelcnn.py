"""A gated PixelCNN over the codes of pictures, told what they show or not.

"Conditional Image Generation with PixelCNN Decoders" (van den Oord et al. 2016) over codes, as in "Neural
Discrete Representation Learning" (van den Oord et al. 2017, section 4.2). `speechvq.nets.pixelcnn` says
what of the grid a place sees; the K codes of a place are channels of depth, as colours are in a PixelCNN.
Which codes the one of codebook k at a place depends on:

    codebook of the other code    0 ... k - 1    k       k + 1 ... K - 1
    at places before, in raster   yes            yes     yes
    at the place itself           yes            no      no
    at places after               no             no      no

A place that a mask leaves out is as if it lay outside of the grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.codec import Codes
from speechvq.errors import BadCodes
from speechvq.losses.likelihood import categorical_nll
from speechvq.nets.pixelcnn import PixelCNN, Stacks
from speechvq.nets.pixelcnn_step import State, Steps
from speechvq.nets.sampling import Sampling
from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.labels import Names, named
from speechvq.prior.row import each_book, given_tokens, write_row, writing
from speechvq.prior.sampling import Steering
from speechvq.prior.tokens import Alphabet
from speechvq.table import preset

SIZES = {
    "tiny": Stacks(layers=4, width=48, skip=48, post=96, condition=32),
    "small": Stacks(layers=7, width=96, skip=96, post=192, dropout=0.1),
    "base": Stacks(layers=15, width=192, skip=192, post=384, dropout=0.1),
    "paper": Stacks(layers=20, first=5, width=384, skip=384, post=384, dropout=0.1),
}
"""They see all before a place on grids 10, 16, 32 and 41 wide. "paper" is that of ImageNet 32: 20 layers of
384 units with filters of 5 x 5; what the paper leaves open is as in the others."""


@PRIORS.register("pixelcnn")
class PixelCNNPrior(Prior):
    """Codes of pictures, on a grid (H, W) of any size, from those before them and perhaps a label."""

    labels: tuple[str, ...]
    """Names of the classes it is conditioned on, by their rows; empty when it is not."""

    def __init__(
        self,
        codebook_size: int,
        *,
        num_codebooks: int = 1,
        size: str | Stacks = "base",
        labels: tuple[str, ...] = (),
        label_dropout: float = 0.0,
        speakers: tuple[str, ...] = (),
        speaker_dropout: float = 0.0,
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            size: widths and depths, or the name of a preset (tiny, small, base, paper).
            labels: names of the classes it is conditioned on; none for no condition.
            label_dropout: how often no class is told in training, in [0, 1); above 0 it can be guided.
            speakers: names of the speakers it is conditioned on, such as of films.
            speaker_dropout: as ``label_dropout``.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        size = preset(size, SIZES, "PixelCNN prior")
        self.alphabet = Alphabet(codebook_size, num_codebooks)
        self.codebook_size, self.num_codebooks, self.codec = codebook_size, num_codebooks, codec
        told = size.condition
        self.label = Names(labels, told, kind="label", dropout=label_dropout) if labels else None
        self.speaker = Names(speakers, told, kind="speaker", dropout=speaker_dropout) if speakers else None
        self.labels, self.speakers = tuple(labels), tuple(speakers)
        self.enter = nn.Embedding(num_codebooks * codebook_size, size.width)
        self.net = PixelCNN(size, conditioned=bool(labels or speakers))
        self.leave = Depths(size.skip, size.post, self.alphabet)

    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.nats`; codes are (B, K, H, W), the condition has "label" if the prior has labels.

        Raises:
            BadCodes: another depth, codes beyond the codebook, or a grid that has not two axes.
            BadSetting: the label or the speaker is missing.
        """
        _check(tuple(codes.indices.shape[2:]))
        tokens = self.alphabet.tokens(codes).view(len(codes.indices), *codes.indices.shape[2:], -1)
        logits = self._logits(tokens, self._conditions(condition, len(tokens)))
        nats = categorical_nll(logits.flatten(0, 3), self.alphabet.numbers(tokens).flatten())
        return nats.view(tokens.shape).masked_fill(tokens == self.alphabet.nothing, 0).movedim(3, 1)

    @torch.no_grad()
    def generate(
        self,
        grid: tuple[int, ...],
        condition: dict[str, Tensor] | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        steering: Steering = Steering(),  # noqa: B008
        prefix: Codes | None = None,
        count: int = 1,
    ) -> Codes:
        """See `Prior.generate`; the grid is (H, W), a prefix its first rows.

        Of weights in 16 bits other codes may be drawn than `nats` would have it, though no worse ones: that
        rounds its sums over layers layer by layer, and what is remembered here is summed up first.
        """
        _check(grid)
        given = given_tokens(self.alphabet, prefix, grid, count, device=self.enter.weight.device)
        with writing(self):
            conditions = self._conditions(condition, count, guided=steering.guidance != 1)
            reader = _Reader(self, conditions, columns=grid[1])
            return write_row(reader, self.alphabet, grid, sampling, steering=steering, given=given)

    def _logits(self, tokens: Tensor, conditions: Tensor) -> Tensor:
        """What is said of each of the tokens (B, H, W, K): (B, H, W, K, Q)."""
        there = (tokens != self.alphabet.nothing).any(3)[:, None]
        mask = None if bool(there.all()) else there
        features = self.net(self._inputs(tokens).permute(0, 3, 1, 2), conditions, mask)
        return self.leave(features.permute(0, 2, 3, 1), tokens)

    def _inputs(self, tokens: Tensor) -> Tensor:
        """Tokens (..., K) of places to (..., width)."""
        return look_up(self.enter, tokens, self.alphabet).sum(-2)

    def _conditions(self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False) -> Tensor:
        """What the gates add for the label and the speaker, (1 or B, layers, 2, 2 width)."""
        return self.net.conditions(named((self.label, self.speaker), condition, count, guided=guided))


class Depths(nn.Module):
    """The codes of one place from its features, each told those of the codebooks before its own."""

    def __init__(self, features: int, post: int, alphabet: Alphabet) -> None:
        """From ``features`` channels through ``post`` to the logits of each codebook of ``alphabet``."""
        super().__init__()
        self.alphabet, books = alphabet, alphabet.num_codebooks
        self.told = nn.Embedding((books - 1) * alphabet.codebook_size, features) if books > 1 else None
        self.book = nn.Parameter(torch.zeros(books, features))
        self.post = nn.Linear(features, post)
        self.last = nn.Linear(post, books * alphabet.codebook_size)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Features (..., S) and tokens (..., K) of places to logits (..., K, Q)."""
        h = features[..., None, :] + self.book
        if self.told is not None:
            told = look_up(self.told, tokens[..., :-1], self.alphabet)
            # Moved on by one before they are summed up: a code never comes near its own logits.
            h = h + F.pad(told, (0, 0, 1, 0)).cumsum(-2)
        h = self.post(h.relu()).relu()
        return each_book(h, self.last.weight, self.last.bias)


def look_up(table: nn.Embedding, tokens: Tensor, alphabet: Alphabet) -> Tensor:
    """Tokens of any shape as rows of a table (..., channels); zeros for "nothing"."""
    absent = tokens == alphabet.nothing
    return table((tokens - alphabet.first).masked_fill(absent, 0)).masked_fill(absent[..., None], 0)


def _check(grid: tuple[int, ...]) -> None:
    """Refuse what is not rows and columns."""
    if len(grid) != 2:
        raise BadCodes(
            f"a PixelCNN models codes of pictures, on a grid of rows and columns, not on {grid}; for codes "
            "in a row, as of sound, use the prior wavenet or transformer"
        )


class _Reader:
    """The network step by step, from its first place on."""

    def __init__(self, prior: PixelCNNPrior, conditions: Tensor, *, columns: int) -> None:
        self.prior, self.columns, self.steps = prior, columns, Steps(prior.net, conditions)
        self.state: State | None = None
        leave, books = prior.leave, prior.num_codebooks
        self.post, self.post_bias = leave.post.weight.T.contiguous(), leave.post.bias
        weights, biases = (part.unflatten(0, (books, -1)) for part in (leave.last.weight, leave.last.bias))
        self.books = list(zip(leave.book, weights.mT.contiguous(), biases, strict=True))
        self.book, self.x = 0, torch.empty(0)  # which is next, and the input of its place so far

    def read(self, tokens: Tensor) -> Tensor:
        """See `speechvq.prior.row.Reader`; the first time "nothing" and whole rows, then one token each."""
        if self.state is None:
            self.state = self.steps.start(len(tokens), self.columns)
            shape = (-1, self.columns, self.prior.num_codebooks)
            rows = self.prior._inputs(tokens[:, 1:].unflatten(1, shape))
            self.steps.given(rows, self.state)
            self.features = self.steps.step(None, self.state)
        else:
            self._take(tokens.squeeze(1), self.state)
        at, weight, bias = self.books[self.book]
        h = torch.addmm(self.post_bias, (self.features + at).relu_(), self.post).relu_()
        return torch.addmm(bias, h, weight)

    def _take(self, tokens: Tensor, state: State) -> None:
        """Read tokens (R,) that are codes, and so rows of the tables."""
        x, told = F.embedding(tokens, self.prior.enter.weight), self.prior.leave.told
        self.x = self.x + x if self.book else x
        self.book = (self.book + 1) % len(self.books)
        if self.book and told is not None:
            self.features = self.features + F.embedding(tokens, told.weight)
        else:
            self.features = self.steps.step(self.x, state)
