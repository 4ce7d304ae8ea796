"""A transformer that is told what a picture is to be like and then writes its codes.

"Taming Transformers for High-Resolution Image Synthesis" (Esser et al. 2021, section 3.2). One row: the
conditions' tokens (`speechvq.prior.conditions`), then the codes, place after place in one of the orders of
`speechvq.prior.orders`, and at each place codebook after codebook. Positions are learned, the last layer
has no bias, and only codes cost anything. On a grid that is larger than the window it has learned, it sees
the window around each place (`speechvq.prior.windows`), conditions included.

With positions that are "given" it is the transformer of "Vector-quantized Image Modeling with Improved
VQGAN" (Yu et al. 2022): `speechvq.prior.axes`, and of conditions a class only, which has no place.

In the published weights one table of tokens serves codes and conditions alike, so that class 3, code 3 of
a depth map and code 3 of a picture are one token; ``vocabulary`` says so. By default each has its own.
"""

from typing import Any

import torch
from torch import Tensor, nn

from speechvq.codec import Codes, evaluating
from speechvq.errors import BadSetting
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth, Transformer
from speechvq.nets.transformer_step import Steps
from speechvq.prior.axes import Axes
from speechvq.prior.base import PRIORS, Prior
from speechvq.prior.conditions import Conditions, Given
from speechvq.prior.gpt_settings import SIZES, Reading
from speechvq.prior.orders import placed
from speechvq.prior.row import each_book, given_tokens, row_nats, write_row, writing
from speechvq.prior.sampling import Steering
from speechvq.prior.tokens import Alphabet
from speechvq.prior.windows import SlidingReader, Windows
from speechvq.table import preset, settings


@PRIORS.register("gpt")
class GPTPrior(Prior):
    """Codes of any grid from the codes before them and from conditions of several kinds."""

    def __init__(
        self,
        codebook_size: int,
        *,
        num_codebooks: int = 1,
        size: str | Depth = "base",
        given: tuple[Given, ...] = (),
        reading: Reading = Reading(),  # noqa: B008 (frozen)
        codec: str = "",
    ) -> None:
        """Build the prior.

        Args:
            codebook_size: codes in a codebook.
            num_codebooks: depth K of the codes.
            size: widths and depths, or the name of a preset of `speechvq.prior.gpt_settings`.
            given: what it is told, in this order; nothing for pictures of whatever kind.
            reading: window, order and training.
            codec: fingerprint of the codec that the codes are of.
        """
        super().__init__()
        size = preset(size, SIZES, "GPT prior")
        self.given = tuple(one if isinstance(one, Given) else settings(Given, one) for one in given)
        self.alphabet = Alphabet(codebook_size, num_codebooks)
        self.codebook_size, self.num_codebooks = codebook_size, num_codebooks
        self.speakers, self.codec, self.reading = (), codec, reading
        shared = reading.vocabulary
        # In a shared table the "nothing" before the first code is the first token.
        self.nothing = 0 if shared else self.alphabet.nothing
        self.conditions = Conditions(self.given, nothing=self.nothing, shared=bool(shared))
        needed = max(self.conditions.end, num_codebooks * codebook_size)
        if 0 < shared < needed:
            raise BadSetting(f"a vocabulary of {shared} tokens has no room for integers up to {needed - 1}")
        self.enter = nn.Embedding(shared or needed, size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.net = Transformer(size)
        self.axes = Axes(reading.window, size.width) if size.positions == "given" else None
        if self.axes is not None and any(one.kind != "label" for one in self.given):
            raise BadSetting("a prior with positions by row and column can be told classes (labels) only")
        self.leave = nn.Linear(size.width, shared or num_codebooks * codebook_size, bias=False)
        for part in (self.enter, self.leave):
            nn.init.normal_(part.weight, std=0.02)

    def nats(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.nats`; on a grid larger than the window, given those before it in its window.

        Args:
            codes: (B, K, *grid).
            condition: for each of ``given`` a tensor by its name, see `Given`.

        Raises:
            BadCodes: another depth, or codes beyond the codebook.
            BadSetting: a condition is missing or wrong, or the row is longer than the learned positions.
        """
        windows = self.reading.windows(tuple(codes.indices.shape[2:]))
        if windows.slide:
            nats = torch.zeros(codes.indices.shape, device=codes.indices.device)
            for share in windows.shares():
                told = self.conditions.cut(condition, windows, share.start)
                found = self.nats(windows.cut(codes, share.start), told)
                nats[(..., *share.places)] = found[(..., *share.within)]
            return nats
        ordered, told = self._row(codes, condition, windows)
        nats = row_nats(self.alphabet, ordered, lambda before: self._logits(before, told, windows.grid))
        return placed(nats, self.reading.places(windows.grid).argsort())

    def loss(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> Tensor:
        """See `Prior.loss`; on a grid larger than the window that of one, in training anywhere, else midmost.

        That of all codes is the mean of `nats`, at the price of a window for almost each of them.
        """
        windows = self.reading.windows(tuple(codes.indices.shape[2:]))
        if windows.slide:
            room = [whole - size for whole, size in zip(windows.grid, windows.size, strict=True)]
            start = tuple(int(torch.randint(r + 1, ())) if self.training else r // 2 for r in room)
            codes, condition = windows.cut(codes, start), self.conditions.cut(condition, windows, start)
        return super().loss(codes, condition)

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
        """See `Prior.generate`; a prefix only in raster order, guidance only if trained blind at times."""
        device, guided = self.enter.weight.device, steering.guidance != 1
        if guided and not (self.reading.blind and self.given):
            raise BadSetting(
                "this prior was never trained without its condition, so it cannot be guided away from that; "
                "leave the guidance at 1, or train one that is told something with reading.blind=0.1"
            )
        if prefix is not None and not self.goes_on:
            raise BadSetting(f"in the order {self.reading.order} no codes are first; leave the prefix out")
        windows = self.reading.windows(tuple(grid))
        given = given_tokens(self.alphabet, prefix, windows.grid, count, device=device)
        with writing(self):
            parts = self.conditions.read(condition, windows.grid, count, device)
            reader = _Reader(self, parts, windows, guided=guided)
            reader = SlidingReader(reader.begin, windows, num_codebooks=self.num_codebooks)
            codes = write_row(reader, self.alphabet, windows.grid, sampling, steering=steering, given=given)
        return Codes(placed(codes.indices, self.reading.places(windows.grid).argsort()))

    @torch.no_grad()
    def features(self, codes: Codes, condition: dict[str, Tensor] | None = None) -> list[Tensor]:
        """What each block says where a code is asked for, so of those before it; in evaluation mode.

        Codes and condition are those of `nats`, on a grid no larger than the window, else it raises
        `BadSetting`. For each block it is (B, places, K * width), the places in raster order.
        """
        windows, states = self.reading.windows(tuple(codes.indices.shape[2:])), []
        if windows.slide:
            raise BadSetting(f"features are of a grid of at most {windows.size} places, not {windows.grid}")
        with evaluating(self):
            ordered, told = self._row(codes, condition, windows)
            read = self.alphabet.before(self.alphabet.tokens(ordered))[:, 1:]
            self._hidden(told, read, windows.grid, states=states)
        back = self.reading.places(windows.grid).argsort().to(told.device)
        rows = (state[:, told.shape[1] - 1 :].unflatten(1, (-1, self.num_codebooks)) for state in states)
        return [row.flatten(2)[:, back] for row in rows]

    @property
    def goes_on(self) -> bool:
        """See `Prior.goes_on`."""
        return self.reading.order == "raster"

    def _row(
        self, codes: Codes, condition: dict[str, Tensor] | None, windows: Windows
    ) -> tuple[Codes, Tensor]:
        """The codes in the order in which they are read, and the tokens that are told before them."""
        count, device = len(codes.indices), codes.indices.device
        parts = self.conditions.read(condition, windows.grid, count, device)
        if self.training and self.reading.blind:
            hidden = torch.rand(count, device=device) < self.reading.blind
            for part in parts:
                part[hidden] = self.nothing
        places = self.reading.places(windows.grid)
        mask = None if codes.mask is None else placed(codes.mask[:, None], places)[:, 0]
        told = self.conditions.row(parts, windows, (0,) * len(windows.grid))
        return Codes(placed(codes.indices, places), mask), told

    def _inputs(self, told: Tensor, read: Tensor) -> Tensor:
        """What is told (R, m) and the codes' tokens (R, n) to (R, m + n, width)."""
        row = torch.cat([told, read.masked_fill(read == self.alphabet.nothing, self.nothing)], dim=1)
        return self.dropout(self.enter(row))

    def _where(self, grid: tuple[int, ...]) -> Tensor | None:
        """What tells each of the codes' tokens its place (n, width), unless the network does."""
        if self.axes is None:
            return None
        return self.axes(grid)[self.reading.places(grid)].repeat_interleave(self.num_codebooks, dim=0)

    def _hidden(self, told: Tensor, read: Tensor, grid: tuple[int, ...], **how: Any) -> Tensor:
        """What the network says (R, m + n, width) of what is told (R, m) and the codes' tokens (R, n)."""
        x, m = self._inputs(told, read), told.shape[1]
        if (where := self._where(grid)) is not None:
            x = x + nn.functional.pad(where[: read.shape[1]], (0, 0, m, 0))
        return self.net(x, unmasked=min(self.reading.unmasked, m), **how)

    def _logits(self, before: Tensor, told: Tensor, grid: tuple[int, ...] = ()) -> Tensor:
        """What comes next, (B, Q, L), after ``told`` and tokens (B, L), of which the first says nothing."""
        read, size = before[:, 1:], self.codebook_size
        if self.training and self.reading.keep < 1:
            books = torch.arange(read.shape[1], device=read.device) % self.num_codebooks
            noise = torch.randint_like(read, size) + size * books
            kept = torch.rand(read.shape, device=read.device) < self.reading.keep
            read = torch.where(kept | (read == self.alphabet.nothing), read, noise)
        h = self._hidden(told, read, grid)
        h_BTKD = h[:, told.shape[1] - 1 :].unflatten(1, (-1, self.num_codebooks))
        codes = self.leave.weight[: self.num_codebooks * size]
        return each_book(h_BTKD, codes).flatten(1, 2).transpose(1, 2)


class _Reader:
    """The network with its cache, in the window that it last began."""

    def __init__(self, prior: GPTPrior, parts: list[Tensor], windows: Windows, *, guided: bool) -> None:
        self.prior, self.parts, self.windows, self.guided = prior, parts, windows, guided
        self.steps, self.cache, self.where = Steps(prior.net), None, prior._where(windows.size)
        codes = prior.leave.weight.detach()[: prior.num_codebooks * prior.codebook_size]
        self.leave = [part.T.contiguous() for part in codes.split(prior.codebook_size)]

    def begin(self, start: tuple[int, ...]) -> "_Reader":
        """The same, before the first code of the window at ``start``."""
        self.told = self.prior.conditions.row(self.parts, self.windows, start)
        if self.guided:
            self.told = torch.cat([self.told, torch.full_like(self.told, self.prior.nothing)])
        if self.cache is None:
            places = torch.Size(self.windows.size).numel() * self.prior.num_codebooks
            self.cache = self.prior.net.start(len(self.told), self.told.shape[1] + places - 1)
        self.cache.place = 0
        return self

    def read(self, tokens: Tensor) -> Tensor:
        """See `speechvq.prior.row.Reader`."""
        assert self.cache is not None
        prior, told = self.prior, self.told.shape[1]
        if self.cache.place:
            x = prior.enter.weight.index_select(0, tokens[:, 0])
            x = x if self.where is None else x + self.where[self.cache.place - told]
            h = self.steps.step(x, self.cache)
        else:
            h = prior._hidden(self.told, tokens[:, 1:], self.windows.size, cache=self.cache)[:, -1]
        return h @ self.leave[(self.cache.place - told) % prior.num_codebooks]
