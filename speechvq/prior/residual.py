"""A transformer over places and, within each place, one over the depths of its codes.

"Autoregressive Image Generation using Residual Quantization" (Lee et al. 2022, section 3.2). What is read
are the vectors e(.) of the codec's codebook. With the codes S[t, d] of the places t, D of them each:

    u_0 = condition + P_begin      u_t = sum_d (W_in e(S[t-1, d]) + b_in) + P_place[t-1]     h = places(u)
    v_1 = h_t + P_depth[1]         v_d = W_head sum_{i<d} e(S[t, i]) + b_head + P_depth[d]   y = depths(v)

and a norm and a linear layer make logits of y. As in the published code, a place's position is added where
the place is read, and there is no norm between the two transformers. Without a learned grid, positions
turn, sequences are of any length, and what is told by name is added to every u.

Legend: B items, T places, K depths, Q codes in a codebook, C channels of its vectors, E of the network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechvq.codec import Codes
from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling
from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.labels import Names, named
from speechvq.prior.residual_loss import Shares, costs, mean_cost
from speechvq.prior.residual_net import ResidualNet, Telling
from speechvq.prior.residual_settings import SIZES, Sizes, Told
from speechvq.prior.residual_step import write
from speechvq.prior.row import given_tokens, writing
from speechvq.prior.sampling import Steering
from speechvq.prior.tokens import Alphabet
from speechvq.quantize.soft import SoftTargets
from speechvq.table import preset


@PRIORS.register("residual")
class ResidualPrior(Prior):
    """Codes of a residual stack, from those of the places before and those above them at their own."""

    labels: tuple[str, ...]
    """Names of the classes it is conditioned on, by their rows; empty when it is not."""
    vectors: Tensor
    """(1 or K, Q, C) of the codec's codebooks, or (1 or K, Q, E) of its own."""

    def __init__(
        self,
        codebook_size: int,
        *,
        num_codebooks: int = 1,
        grid: tuple[int, ...] = (),
        size: str | Sizes = "tiny",
        channels: int = 0,
        shared: bool = True,
        labels: tuple[str, ...] = (),
        speakers: tuple[str, ...] = (),
        told: Told = Told(),  # noqa: B008 (frozen)
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            grid: the largest grid, each of whose places gets a learned position; empty for positions that
                turn, and grids of any size.
            size: widths and depths, or the name of a preset of `speechvq.prior.residual_settings`.
            channels: C of the codec's codebooks, which `take` copies; 0 to learn vectors of its own.
            shared: if all depths have one codebook.
            labels: names of the classes it is conditioned on; none for no condition.
            speakers: names of the speakers it is conditioned on.
            told: texts, and how often nothing is told.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        size = preset(size, SIZES, "residual prior")
        if told.words and (labels or speakers):
            raise BadSetting("this prior is told a text or names, not both; leave labels and speakers out")
        if grid and min(grid) < 1 or channels < 0:
            raise BadSetting(f"a grid {grid} of codes of {channels} channels cannot be learned")
        if num_codebooks > 1 and not size.depths:
            raise BadSetting("without blocks over depths only one codebook can be learned; give depths")
        self.alphabet, self.size, self.told = Alphabet(codebook_size, num_codebooks), size, told
        self.codebook_size, self.num_codebooks, self.codec = codebook_size, num_codebooks, codec
        self.channels, width = channels, size.width
        self.labels, self.speakers, self.grid = tuple(labels), tuple(speakers), tuple(grid)
        vectors = torch.zeros(1 if shared else num_codebooks, codebook_size, channels or width)
        if channels:
            self.register_buffer("vectors", vectors)
        else:
            self.vectors = nn.Parameter(nn.init.normal_(vectors, std=0.02))
        self.label = Names(labels, width, kind="label", dropout=told.blind) if labels else None
        self.speaker = Names(speakers, width, kind="speaker", dropout=told.blind) if speakers else None
        self.begin = None if labels or speakers else nn.Embedding(told.words or 1, width)
        books = {"num_codebooks": num_codebooks, "channels": channels}
        self.net = ResidualNet(size, grid=self.grid, begin=told.length if told.words else 1, **books)
        self.last = nn.LayerNorm(width)
        own = num_codebooks if size.classifiers == "own" else 1
        self.leave = nn.Linear(width, own * codebook_size)
        self.spell = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, told.words)) if told.words else None

    @torch.no_grad()
    def take(self, vectors: Tensor) -> None:
        """Read codes by these vectors of the codec's codebooks from now on.

        Args:
            vectors: (Q, C), or one codebook after the other (1 or K, Q, C); K equal ones may stand for one.

        Raises:
            BadSetting: another shape, or a prior that learns vectors of its own.
        """
        vectors = vectors[None] if vectors.dim() == 2 else vectors
        if len(vectors) > 1 == len(self.vectors) and bool((vectors == vectors[:1]).all()):
            vectors = vectors[:1]
        if not self.channels or vectors.shape != self.vectors.shape:
            wanted = f"takes {tuple(self.vectors.shape)}" if self.channels else "learns vectors of its own"
            raise BadSetting(f"the codebooks are {tuple(vectors.shape)}, and this prior {wanted}")
        self.vectors.copy_(vectors)

    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.nats`; the condition has "label", "speaker" or "text" if the prior is told such.

        Raises:
            BadCodes: another depth, or codes beyond the codebook.
            BadSetting: the condition is missing or wrong, or the grid is larger than the learned one.
        """
        return costs(self._hidden(codes, condition)[0], self.leave, Shares(codes, None, self.codebook_size))

    def loss(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.loss`; with the nats of each word of a text, as `Told` weighs them."""
        return self._loss(codes, condition, None)

    def soft_loss(
        self, codes: Codes, targets: SoftTargets, condition: dict[str, Tensor] | None = None
    ) -> Tensor:
        """As `loss`, with the cross entropy to what each code might have been (section 3.2.3).

        Args:
            codes: (B, K, *grid) that are read, such as ``targets.indices``.
            targets: from `speechvq.quantize.soft.soft_targets`.
            condition: as of `nats`.
        """
        return self._loss(codes, condition, targets)

    def logits(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """What is said of each code before it is seen, (B, K, *grid, Q); all at once, so of small batches."""
        hidden = self._hidden(codes, condition)[0].unflatten(0, codes.indices.shape)
        return torch.stack([F.linear(hidden[:, k], *own) for k, own in enumerate(self.classifiers())], 1)

    def classifiers(self) -> list[tuple[Tensor, Tensor]]:
        """The last layer of each depth: weight (Q, E) and bias (Q,)."""
        weights, biases = (part.split(self.codebook_size) for part in (self.leave.weight, self.leave.bias))
        layers = list(zip(weights, biases, strict=True))
        return layers if self.size.classifiers == "own" else layers * self.num_codebooks

    @torch.no_grad()
    def generate(
        self,
        grid: tuple[int, ...],
        condition: dict[str, Tensor] | None = None,
        sampling: Sampling | Sequence[Sampling] = Sampling(),  # noqa: B008 (frozen)
        *,
        steering: Steering = Steering(),  # noqa: B008
        prefix: Codes | None = None,
        count: int = 1,
    ) -> Codes:
        """See `Prior.generate`; ``sampling`` may be one for each depth, the seed that of the first."""
        grid = tuple(grid)
        each = [sampling] * self.num_codebooks if isinstance(sampling, Sampling) else list(sampling)
        if len(each) != self.num_codebooks:
            raise BadSetting(f"{len(each)} ways to draw are given for {self.num_codebooks} codebooks")
        device = self.leave.weight.device
        given = given_tokens(self.alphabet, prefix, grid, count, device=device)
        given = self.alphabet.numbers(given).unflatten(1, (-1, self.num_codebooks))
        with writing(self):
            told = self._tell(condition, count, guided=steering.guidance != 1)
            return Codes(write(self, told, grid, each, steering=steering, given_BPK=given))

    def _loss(self, codes: Codes, condition: dict[str, Tensor] | None, targets: SoftTargets | None) -> Tensor:
        hidden, texts = self._hidden(codes, condition)
        loss = mean_cost(hidden, self.leave, Shares(codes, targets, self.codebook_size))
        if self.spell is None:
            return loss
        words = self.text_of(condition, len(texts))
        text = F.cross_entropy(self.spell(texts[:, :-1]).float().flatten(0, 1), words[:, 1:].flatten())
        return (1 - self.told.weight) * loss + self.told.weight * text

    def _hidden(self, codes: Codes, condition: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """What the classifiers read of each code (M, E), in the order (B, K, *grid); and of each word."""
        tokens = self.alphabet.tokens(codes)
        read = self.alphabet.numbers(tokens).masked_fill(tokens == self.alphabet.nothing, -1)
        e_BTKC = self.look_up(read.unflatten(1, (-1, self.num_codebooks)))
        told = self._tell(condition, len(read))
        y_BTKE, texts = self.net(e_BTKC, tuple(codes.indices.shape[2:]), told)
        return self.last(y_BTKE.transpose(1, 2)).flatten(0, 2), texts

    def look_up(self, codes: Tensor) -> Tensor:
        """The vectors (..., K, C) of codes (..., K); zero where they are negative."""
        there, rows = codes >= 0, codes.clamp(min=0)
        if len(self.vectors) > 1:
            rows = rows + self.codebook_size * torch.arange(self.num_codebooks, device=codes.device)
        return F.embedding(rows, self.vectors.flatten(0, 1)) * there[..., None]

    def _tell(self, condition: dict[str, Tensor] | None, count: int, *, guided: bool = False) -> Telling:
        """What the network is told; when guided, then once more without it."""
        if guided and self.begin is None and not self.told.blind:
            raise BadSetting(
                "this prior was never trained without its condition, so it cannot be guided away from that; "
                "leave the guidance at 1, or train one with told.blind=0.1"
            )
        names = named((self.label, self.speaker), condition, count, guided=guided)
        if self.begin is None:
            assert names is not None
            return Telling(names[:, None] + self.net.at_begin, None if self.grid else names)
        words = self.text_of(condition, count)
        return Telling(self.begin(words) + self.net.at_begin)

    def text_of(self, condition: dict[str, Tensor] | None, count: int) -> Tensor:
        """The text (count, n) of a condition; without one, a single word that says nothing.

        Raises:
            BadSetting: it is not there, of another length, or has words beyond the alphabet.
        """
        device = self.leave.weight.device
        if not self.told.words:
            return torch.zeros(count, 1, dtype=torch.int64, device=device)
        text = None if condition is None else condition.get("text")
        if text is None or text.dim() != 2 or text.shape[1] != self.told.length:
            raise BadSetting(f"this prior is told a text; give it as (B, {self.told.length}) tokens")
        if len(text) not in (1, count):
            raise BadSetting(f"{len(text)} texts are given for {count} sequences; give one, or one each")
        if len(text) and not 0 <= int(text.min()) <= int(text.max()) < self.told.words:
            raise BadSetting(f"the words of a text are 0 to {self.told.words - 1}; one is beyond")
        return text.to(device, torch.int64).expand(count, -1)
