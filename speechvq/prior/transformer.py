"""A causal transformer over codes, of any number of codebooks, told who speaks or not.

It reads the codes in a row, see `speechvq.prior.tokens`: each token has a vector of its own, to which
the speaker's is added at every place. Every codebook has a last layer of its own.
"""

import math

import torch
from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth, Transformer
from speechvq.nets.transformer_step import Steps
from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.labels import named
from speechvq.prior.row import each_book, given_tokens, row_nats, write_row, writing
from speechvq.prior.sampling import Steering
from speechvq.prior.speaker import Speakers
from speechvq.prior.tokens import Alphabet
from speechvq.table import preset

SIZES = {
    "tiny": Depth(layers=4, width=128, heads=4),
    "small": Depth(layers=6, width=256, heads=4, dropout=0.1),
    "base": Depth(layers=12, width=512, heads=8, dropout=0.1),
}


@PRIORS.register("transformer")
class TransformerPrior(Prior):
    """Codes of any grid, in raster order, from the codes before them and perhaps a speaker."""

    def __init__(
        self,
        codebook_size: int,
        *,
        num_codebooks: int = 1,
        size: str | Depth = "base",
        speakers: tuple[str, ...] = (),
        speaker_dropout: float = 0.0,
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            size: widths and depths, or the name of a preset (tiny, small, base).
            speakers: names of the speakers it is conditioned on; none for no condition.
            speaker_dropout: how often nobody speaks in training, in [0, 1); above 0 it can be guided.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        size = preset(size, SIZES, "transformer prior")
        if size.positions == "given":
            raise BadSetting("the transformer prior gives its network no positions: rotary or learned")
        self.alphabet = Alphabet(codebook_size, num_codebooks)
        self.codebook_size, self.num_codebooks = codebook_size, num_codebooks
        self.speakers, self.codec = tuple(speakers), codec
        self.enter = nn.Embedding(self.alphabet.size, size.width)
        self.speaker = Speakers(self.speakers, size.width, dropout=speaker_dropout) if speakers else None
        self.dropout = nn.Dropout(size.dropout)
        self.net = Transformer(size)
        self.leave = nn.Linear(size.width, num_codebooks * codebook_size)
        for part in (self.enter, self.leave, *([self.speaker.table] if self.speaker else [])):
            nn.init.normal_(part.weight, std=0.02)
        nn.init.zeros_(self.leave.bias)

    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.nats`; the condition has "speaker" if the prior has speakers.

        Raises:
            BadCodes: another depth, or codes beyond the codebook.
            BadSetting: the speaker is missing, or the row is longer than learned positions.
        """
        voice = self._voice(condition, len(codes.indices))
        return row_nats(self.alphabet, codes, lambda before: self._logits(before, voice))

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
        """See `Prior.generate`."""
        given = given_tokens(self.alphabet, prefix, grid, count, device=self.enter.weight.device)
        with writing(self):
            voice = self._voice(condition, count, guided=steering.guidance != 1)
            reader = _Reader(self, voice, places=self.num_codebooks * math.prod(grid))
            return write_row(reader, self.alphabet, grid, sampling, steering=steering, given=given)

    def _inputs(self, before: Tensor, voice: Tensor | None) -> Tensor:
        """Tokens (B, L) to (B, L, width)."""
        x = self.enter(before)
        return self.dropout(x if voice is None else x + voice[:, None])

    def _logits(self, before: Tensor, voice: Tensor | None) -> Tensor:
        """Read tokens (B, L) to what comes next, (B, Q, L), each place by its codebook's last layer."""
        h_BTKD = self.net(self._inputs(before, voice)).unflatten(1, (-1, self.num_codebooks))  # noqa: N806
        return each_book(h_BTKD, self.leave.weight, self.leave.bias).flatten(1, 2).transpose(1, 2)

    def _voice(
        self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False
    ) -> Tensor | None:
        """The speaker's vectors (B, width)."""
        return named([self.speaker], condition, count, guided=guided)


class _Reader:
    """The network with its cache, from its first place on."""

    def __init__(self, prior: TransformerPrior, voice: Tensor | None, *, places: int) -> None:
        self.prior, self.voice, self.places = prior, voice, places
        self.steps, self.cache = Steps(prior.net), None
        size = prior.codebook_size
        weight, bias = prior.leave.weight.detach(), prior.leave.bias.detach()
        weights = [part.T.contiguous() for part in weight.split(size)]
        self.leave = list(zip(bias.split(size), weights, strict=True))

    def read(self, tokens: Tensor) -> Tensor:
        """See `speechvq.prior.row.Reader`."""
        if self.cache is None:
            self.cache = self.prior.net.start(len(tokens), self.places)
        if tokens.shape[1] == 1:
            x = self.prior.enter.weight.index_select(0, tokens[:, 0])
            h = self.steps.step(x if self.voice is None else x + self.voice, self.cache)
        else:
            h = self.prior.net(self.prior._inputs(tokens, self.voice), self.cache)[:, -1]
        bias, weight = self.leave[(self.cache.place - 1) % self.prior.num_codebooks]
        return torch.addmm(bias, h, weight)
