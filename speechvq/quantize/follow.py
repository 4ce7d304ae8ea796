"""After the vectors were quantized: learning over all workers in one call, and health figures.

Perplexity is exp(-sum p log p) of how often each code was used in the batch; it depends on the size
of the batch, so ``stats["counts"]`` is there to add up over an epoch (see `speechvq.quantize.health`).
"""

import torch
from torch import Tensor

from speechvq.quantize import workers
from speechvq.quantize.gradient import in_backward
from speechvq.quantize.stack import Lesson, Walked


@torch.no_grad()
def follow(stacks: list[Walked]) -> dict[str, Tensor]:
    """Let the walked codebooks learn, and return the stats of `Quantized`.

    The statistics of all stacks, depths and workers are summed in one call. A codebook that was
    visited several times (a shared one) learns once, from all its visits. Out of training (a walk
    without lessons) the figures are this worker's own, since workers may evaluate different numbers
    of batches.
    """
    lessons = [lesson for stack in stacks for lesson in stack.lessons]
    counts, moments = [stack.counts for stack in stacks], [stack.moments for stack in stacks]
    revived = moments[0].new_zeros(())
    if lessons and not in_backward():
        counts, moments, lessons = _pooled(counts, moments, lessons)
        revived = _teach(lessons).to(revived.dtype)
    return stats(counts[0] if len(counts) == 1 else torch.cat(counts), moments, revived)


def _pooled(
    counts: list[Tensor], moments: list[Tensor], lessons: list[Lesson]
) -> tuple[list[Tensor], list[Tensor], list[Lesson]]:
    """The same, over all workers."""
    if workers.size() == 1:
        return counts, moments, lessons
    none = moments[0].new_zeros(0)
    made = [lesson.offers() if lesson.codebook.revives else (none, none) for lesson in lessons]
    parts = [*counts, *moments]
    for lesson, offers in zip(lessons, made, strict=True):
        parts += [lesson.counts, lesson.sums, *offers]
    whole = iter(workers.total(parts))
    counts, moments = [next(whole) for _ in counts], [next(whole) for _ in moments]
    pooled = []
    for lesson in lessons:
        seen, sums, *offers = (next(whole) for _ in range(4))
        pooled.append(Lesson(lesson.codebook, seen, sums, lambda o=offers: (o[0], o[1])))
    return counts, moments, pooled


def _teach(lessons: list[Lesson]) -> Tensor:
    """One update of every codebook; how many codes were revived."""
    deads = [lesson.codebook.dead(lesson.counts.sum(0)) for lesson in lessons]
    offers = [
        lesson.offers() if _may_die(lesson, dead_K) else None
        for lesson, dead_K in zip(lessons, deads, strict=True)
    ]
    revived = deads[0].new_zeros((), dtype=torch.int64)
    for lesson, dead_K, offer in zip(lessons, deads, offers, strict=True):
        lesson.codebook.learn(lesson.counts.sum(0), lesson.sums)
        if offer is not None:
            vectors_KD, offered_K = offer
            dead_K = dead_K & (offered_K > 0)
            lesson.codebook.revive(dead_K, vectors_KD)
            revived = revived + dead_K.sum()
    return revived


def _may_die(lesson: Lesson, dead_K: Tensor) -> bool:
    """Whether a code may have to be revived.

    On a CPU a look at a flag costs nothing and mostly spares the draw; a GPU must not be waited for.
    """
    looks = dead_K.device.type == "cpu" and not torch.compiler.is_compiling()
    return lesson.codebook.revives and not (looks and not dead_K.any())


def stats(counts_VK: Tensor, moments: list[Tensor], revived: Tensor) -> dict[str, Tensor]:
    """The figures of `Quantized` from counts (number of codebooks, K) and the moments of each stack."""
    share_VK = counts_VK / counts_VK.sum(1, keepdim=True).clamp(min=1)
    entropy_V = torch.special.entr(share_VK).sum(1)
    error, variance = _spread(moments[0])
    for m in moments[1:]:
        own_error, own_variance = _spread(m)
        error, variance = error + own_error, variance + own_variance
    return {
        "perplexity": entropy_V.exp().mean(),
        "usage": (counts_VK > 0).mean(dtype=counts_VK.dtype),
        "error": torch.where(variance > 0, error / variance, 0),
        "revived": revived,
        "counts": counts_VK,
    }


def _spread(moments: Tensor) -> tuple[Tensor, Tensor]:
    """(summed squared error, variance times the number of vectors)."""
    count, error, squares = moments[:3].unbind()
    moved_D = moments[3:]
    return error, squares - moved_D.dot(moved_D) / count.clamp(min=1)
