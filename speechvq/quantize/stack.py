"""Rows through a stack of codebooks: choices, losses and gradients, and what the codebooks learn from it.

A vector quantizer is a stack of one; a residual one has several, or one that is visited several times;
a grouped one has a stack a group. The codebooks stand still while they are walked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.quantize import workers
from speechvq.quantize.codebook import Codebook, Learning
from speechvq.quantize.gradient import cross
from speechvq.quantize.nearest import Walk, nearest, walk
from speechvq.quantize.start import Pool, Start, draw, fit, seeded


@dataclass(frozen=True)
class Chance:
    """What is left to chance in training."""

    temperature: float = 0.0
    """Above 0, codes are drawn from softmax(-|x - c|^2 / temperature) instead of being the nearest."""
    dropout: float = 0.0
    """How often an item of the batch uses only the first depths of a residual stack, in [0, 1]."""
    least: int = 1
    """Depths that dropout leaves at least."""
    multiple: int = 1
    """Dropout leaves a multiple of this many depths."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise BadSetting(f"the temperature of the choice is {self.temperature}; it must be at least 0")
        if not 0 <= self.dropout <= 1:
            raise BadSetting(f"the quantizer dropout is {self.dropout}; it must be in [0, 1]")
        if self.least < 1 or self.multiple < 1:
            raise BadSetting(
                f"quantizer dropout leaves at least {self.least} depths, in multiples of {self.multiple}; "
                "both must be from 1"
            )


@dataclass(frozen=True)
class Lesson:
    """What one codebook is to learn from one walk.

    Attributes:
        codebook: the pupil.
        counts: (visits, K), what chose each code, a row a visit.
        sums: (K, D) their sum; (0,) when codes do not follow by averages.
        offers: makes (K, D), a vector for each code, should it be dead, and (K,) where there is one.
    """

    codebook: Codebook
    counts: Tensor
    sums: Tensor
    offers: Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Walked:
    """One stack's part of a `Quantized`, in rows.

    Attributes:
        vectors: (N, D), differentiable.
        indices: (V, N); -1 where a row does not walk that depth.
        commitment: mean squared distance of vectors and codes, for the gradient of the vectors.
        codebook: the same, for the gradient of the codes.
        counts: (V, K), what chose each code.
        lessons: one for each codebook.
        moments: (3 + D,), see `speechvq.kernels.plain.Walk`.
    """

    vectors: Tensor
    indices: Tensor
    commitment: Tensor
    codebook: Tensor
    counts: Tensor
    lessons: list[Lesson]
    moments: Tensor


def walk_stack(
    y_ND: Tensor,
    codebooks: Sequence[Codebook],
    *,
    visits: int,
    depths_N: Tensor | None,
    temperature: float = 0.0,
    training: bool,
    passes: bool = False,
) -> Walked:
    """Walk the rows ``y_ND`` through ``visits`` depths; row n only ``depths_N[n]`` of them, 0 if padding.

    With ``passes`` the vectors are the rows as they are, and there are no losses.
    """
    learning = codebooks[0].learning
    books = [codebook.codes() for codebook in codebooks]
    by_gradient = torch.is_grad_enabled() and any(book.requires_grad for book in books)
    found = walk(
        y_ND,
        books,
        visits=visits,
        depths_N=depths_N,
        sums=by_gradient or (training and learning.averages),
        temperature=temperature if training else 0.0,
    )
    lessons = []
    if training:
        lessons = _lessons(y_ND.detach(), [book.detach() for book in books], codebooks, found)
    walked = crossed(y_ND, books, found, learning, depths_N=depths_N, lessons=lessons)
    if not passes:
        return walked
    whole_ND = y_ND if depths_N is None else torch.where(depths_N[:, None] > 0, y_ND, 0)
    # Multiplied by nothing, the losses still ask for the same gradients on every worker.
    return replace(walked, vectors=whole_ND, commitment=0 * walked.commitment, codebook=0 * walked.codebook)


def crossed(
    y_ND: Tensor,
    books: list[Tensor],
    found: Walk,
    learning: Learning,
    *,
    depths_N: Tensor | None,
    lessons: Sequence[Lesson] = (),
) -> Walked:
    """What was ``found`` for the rows ``y_ND``, with the losses and the gradient across the choice."""
    visits, width = len(found.indices), y_ND.shape[1] if learning.scaling == "mean" else 1
    if depths_N is None:
        scale = y_ND.new_ones(()) / (max(y_ND.shape[0], 1) * width * visits)
    else:
        scale = 1 / ((depths_N > 0).sum().clamp(min=1) * (width * visits)).to(y_ND.dtype)
    vectors_ND, commitment, codebook = cross(
        y_ND, books, found, scale, estimator=learning.estimator, share=learning.synchronised
    )
    return Walked(vectors_ND, found.indices, commitment, codebook, found.counts, list(lessons), found.moments)


def losses_of(stacks: list[Walked], learning: Learning) -> dict[str, Tensor]:
    """The weighted losses of `Quantized`, means over the stacks."""
    losses = {"commitment": learning.commitment * _mean([stack.commitment for stack in stacks])}
    if learning.by == "gradient":
        losses["codebook"] = learning.codebook * _mean([stack.codebook for stack in stacks])
    return losses


def _mean(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean()


def _lessons(y_ND: Tensor, books: list[Tensor], codebooks: Sequence[Codebook], found: Walk) -> list[Lesson]:
    """One lesson a codebook. Offers are drawn when the first is asked for, before any codebook learns."""
    shared = len(codebooks) == 1
    drawn: list[tuple[Tensor, Tensor]] = []

    def offers(b: int) -> tuple[Tensor, Tensor]:
        if not drawn:
            drawn.extend(_draw_offers(y_ND, books, found))
        return drawn[b]

    return [
        Lesson(
            codebook,
            found.counts if shared else found.counts[b : b + 1],
            found.sums[b] if codebook.learning.averages else found.sums.new_zeros(0),
            lambda b=b: offers(b),
        )
        for b, codebook in enumerate(codebooks)
    ]


def _draw_offers(y_ND: Tensor, books: list[Tensor], found: Walk) -> list[tuple[Tensor, Tensor]]:
    """For each book K vectors it was brought, at random, and which of them may be taken.

    Worker w offers to codes k with k mod (number of workers) = w, so that adding up makes the union; of
    a shared book's visits v to those with (k div number of workers) mod V = v.
    """
    (K, D), V = books[0].shape, len(found.indices)
    if y_ND.shape[0] == 0:
        return [(y_ND.new_zeros(K, D), y_ND.new_zeros(K))] * len(books)
    codes_K = torch.arange(K, device=y_ND.device)
    place_K = draw(found.indices[0] >= 0, K)
    left_KD = y_ND[place_K]
    fine_K = left_KD.isfinite().all(1) & (codes_K % workers.size() == workers.rank())
    made = []
    for v, indices_N in enumerate(found.indices):
        chosen_K = indices_N[place_K]
        offered_K = fine_K & (chosen_K >= 0)
        if len(books) < V:
            offered_K = offered_K & (codes_K // workers.size() % V == v)
        made.append((torch.where(offered_K[:, None], left_KD, 0), offered_K.to(y_ND.dtype)))
        left_KD = left_KD - books[v if len(books) > 1 else 0][chosen_K.clamp(min=0)]
    if len(books) < V:
        return [(torch.stack([m[0] for m in made]).sum(0), torch.stack([m[1] for m in made]).sum(0))]
    return made


@torch.no_grad()
def begin(
    y_ND: Tensor,
    valid_N: Tensor | None,
    codebooks: Sequence[Codebook],
    pool: Pool,
    start: Start,
    *,
    visits: int,
) -> None:
    """Start codebooks on the data of the first batches, each depth on what the depths before leave.

    Equal on all workers. A codebook that all depths share starts on what all of them are brought.
    """
    for codebook in codebooks:
        codebook.align()
    if not pool.pending or pool.wait() or not start.needs_data:
        return
    left_ND = pool.add(y_ND, valid_N)
    if not len(left_ND):
        return
    K, unit = len(codebooks[0].vectors), codebooks[0].cosine
    generator, found, seen = seeded(), [], []
    for _ in range(visits):
        seen.append(left_ND)
        found.append(fit(start, left_ND, K, generator=generator, unit=unit))
        if visits > 1:
            left_ND = left_ND - found[-1][nearest(left_ND, found[-1])]
    if len(codebooks) < visits:
        found = [fit(start, torch.cat(seen), K, generator=generator, unit=unit)]
    workers.copy_from_first(found)
    for codebook, codes_KD in zip(codebooks, found, strict=True):
        codebook.restart(codes_KD)
