"""A WaveNet over codes: the latent prior of "Neural Discrete Representation Learning" for speech.

It reads the codes in a row, see `speechvq.prior.tokens`; at each place it is also told which codebook
the code that it is asked for is of.
"""

import torch
from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.nets.sampling import Sampling
from speechvq.nets.wavenet import Incremental, Stack, State, WaveNet
from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.labels import named
from speechvq.prior.row import given_tokens, row_nats, write_row, writing
from speechvq.prior.sampling import Steering
from speechvq.prior.speaker import Speakers
from speechvq.prior.tokens import Alphabet
from speechvq.table import preset

SIZES = {
    "tiny": Stack(layers=8, stacks=2, residual=48, gate=48, skip=48, post=48, dropout=0.0),
    "small": Stack(layers=14, stacks=2, residual=128, gate=128, skip=128, post=128, dropout=0.1),
    "base": Stack(layers=16, stacks=2, residual=256, gate=256, skip=256, post=256, dropout=0.1),
}


@PRIORS.register("wavenet")
class WaveNetPrior(Prior):
    """Codes of sound from the codes before them and, where speakers are given, a speaker."""

    def __init__(
        self,
        codebook_size: int,
        *,
        num_codebooks: int = 1,
        size: str | Stack = "base",
        speakers: tuple[str, ...] = (),
        speaker_channels: int = 64,
        speaker_dropout: float = 0.0,
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            size: widths and depths, or the name of a preset (tiny, small, base).
            speakers: names of the speakers it is conditioned on; none for no condition.
            speaker_channels: channels of the speaker.
            speaker_dropout: how often nobody speaks in training, in [0, 1); above 0 it can be guided.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        size = preset(size, SIZES, "WaveNet prior")
        self.alphabet = Alphabet(codebook_size, num_codebooks)
        self.codebook_size, self.num_codebooks = codebook_size, num_codebooks
        self.speakers, self.codec = tuple(speakers), codec
        self.enter = nn.Embedding(self.alphabet.size, size.residual)
        self.depth = nn.Embedding(num_codebooks, size.residual)
        self.speaker = None
        if speakers:
            self.speaker = Speakers(self.speakers, speaker_channels, dropout=speaker_dropout)
        self.net = WaveNet(size, codebook_size, voice=speaker_channels if speakers else 0)

    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.nats`; codes are (B, K, T), the condition has "speaker" if the prior has speakers.

        Raises:
            BadCodes: another depth, or codes beyond the codebook.
            BadSetting: the speaker is missing.
        """
        conditions = self._conditions(condition, len(codes.indices))
        return row_nats(self.alphabet, codes, lambda before: self.net(self._inputs(before), conditions))

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
        """See `Prior.generate`; the grid is (T,)."""
        given = given_tokens(self.alphabet, prefix, grid, count, device=self.enter.weight.device)
        with writing(self):
            reader = _Reader(self, self._conditions(condition, count, guided=steering.guidance != 1))
            return write_row(reader, self.alphabet, grid, sampling, steering=steering, given=given)

    def _inputs(self, before: Tensor, place: int = 0) -> Tensor:
        """Tokens (B, L) to (B, residual, L): what was read, and the codebook that comes next."""
        depths = (place + torch.arange(before.shape[1], device=before.device)) % self.num_codebooks
        return (self.enter(before) + self.depth(depths)).transpose(1, 2)

    def _conditions(self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False) -> Tensor:
        """What the gates add for the speaker, (1 or B, layers, 2 gate, 1)."""
        return self.net.conditions(voice=named([self.speaker], condition, count, guided=guided))


class _Reader:
    """The network step by step, from its first place on."""

    def __init__(self, prior: WaveNetPrior, conditions: Tensor) -> None:
        self.prior, self.network = prior, Incremental(prior.net)
        self.conditions = conditions[..., 0]
        self.state: State | None = None

    def read(self, tokens: Tensor) -> Tensor:
        """See `speechvq.prior.row.Reader`."""
        if self.state is None:
            self.state = self.network.start(len(tokens))
        out = tokens
        for h in self.prior._inputs(tokens, self.state.time).unbind(2):
            out = self.network.step(h, self.conditions, self.state)
        return out
