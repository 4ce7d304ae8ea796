"""A WaveNet over codes: the latent prior of "Neural Discrete Representation Learning" for speech.

Codes (B, K, T) are laid out in one row, time after time and within a time codebook after codebook, so
that a stack of K codebooks is a sequence K times as long.
"""

import torch
from torch import Tensor, nn

from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting
from speechvq.losses.likelihood import categorical_nll, masked_mean
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.nets.wavenet import Incremental, Stack, WaveNet
from speechvq.prior.base import PRIORS, Prior

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
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            size: widths and depths, or the name of a preset (tiny, small, base).
            speakers: names of the speakers it is conditioned on; none for no condition.
            speaker_channels: channels of the speaker.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        if isinstance(size, str):
            if size not in SIZES:
                raise BadSetting(f"there is no size {size!r} of the WaveNet prior; known: {', '.join(SIZES)}")
            size = SIZES[size]
        if codebook_size < 1 or num_codebooks < 1:
            raise BadSetting(
                f"a prior over {num_codebooks} codebooks of {codebook_size} codes cannot be made"
            )
        self.codebook_size, self.num_codebooks = codebook_size, num_codebooks
        self.speakers, self.codec = tuple(speakers), codec
        # One alphabet per codebook, and one more entry for "nothing yet".
        self.enter = nn.Embedding(num_codebooks * codebook_size + 1, size.residual)
        self.depth = nn.Embedding(num_codebooks, size.residual)
        self.speaker = nn.Embedding(len(speakers), speaker_channels) if speakers else None
        self.net = WaveNet(size, codebook_size, voice=speaker_channels if speakers else 0)

    def loss(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """Nats per valid code.

        Args:
            codes: (B, K, T), with K the prior's.
            condition: "speaker" (B,) int64, when the prior has speakers.

        Raises:
            BadCodes: another depth, or codes beyond the codebook.
        """
        indices = codes.indices
        if indices.dim() != 3 or indices.shape[1] != self.num_codebooks:
            raise BadCodes(f"codes of shape {tuple(indices.shape)} are not (B, {self.num_codebooks}, T)")
        if indices.numel() and int(indices.max()) >= self.codebook_size:
            raise BadCodes(f"code {int(indices.max())} is beyond the prior's {self.codebook_size} codes")
        target = indices.transpose(1, 2).flatten(1)
        valid = target >= 0
        if codes.mask is not None:
            valid = valid & codes.mask.repeat_interleave(self.num_codebooks, dim=1)
        target = target.clamp(min=0)
        logits = self.net(self._inputs(target), self._conditions(condition))
        return masked_mean(categorical_nll(logits, target), valid)

    @torch.no_grad()
    def generate(
        self,
        grid: tuple[int, ...],
        condition: dict[str, Tensor] | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        *,
        count: int = 1,
    ) -> Codes:
        """New codes (count, K, T) for ``grid`` (T,); "speaker" of the condition has ``count`` rows."""
        (length,) = grid
        places, network = length * self.num_codebooks, Incremental(self.net)
        conditions, state = self._conditions(condition)[..., 0], network.start(count)
        uniforms = Uniforms(sampling.seed, count).draw(places).to(self.enter.weight.device)
        row = torch.zeros(count, places, dtype=torch.int64, device=self.enter.weight.device)
        token = torch.full_like(row[:, 0], self.enter.num_embeddings - 1) if places else None
        for place in range(places):
            depth = place % self.num_codebooks
            h = self.enter(token) + self.depth.weight[depth]
            row[:, place] = sample(network.step(h, conditions, state), sampling, uniforms[:, place])
            token = row[:, place] + depth * self.codebook_size
        return Codes(row.unflatten(1, (length, self.num_codebooks)).transpose(1, 2).contiguous())

    def _inputs(self, target: Tensor) -> Tensor:
        """The network's input (B, residual, L): at each place the code before it, and its own depth."""
        depths = torch.arange(target.shape[1], device=target.device) % self.num_codebooks
        tokens = target + depths * self.codebook_size
        begin = torch.full_like(tokens[:, :1], self.enter.num_embeddings - 1)
        before = torch.cat([begin, tokens[:, :-1]], dim=1)
        return (self.enter(before) + self.depth(depths)).transpose(1, 2)

    def _conditions(self, condition: dict[str, Tensor] | None) -> Tensor:
        if self.speaker is None:
            return self.net.conditions()
        if not condition or "speaker" not in condition:
            raise BadSetting(
                f'which speaker? give condition={{"speaker": rows}} of {", ".join(self.speakers)}'
            )
        return self.net.conditions(voice=self.speaker(condition["speaker"]))
