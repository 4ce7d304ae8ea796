"""How a gradient crosses a choice that has none, and how far vectors and codes are pulled together.

Straight-through (van den Oord et al. 2017, section 3.2): the gradient of the quantized vector is taken
for the vector's. The rotation trick (Fifty et al. 2024): it is turned and scaled as the vector would
have to be to become the code. One node of the graph does this and the losses of section 3.2:

    commitment = mean |x - sg(c)|^2       codebook = mean |sg(x) - c|^2

In a residual walk c stands for the sum of the codes so far (commitment) and x for what was left
(codebook), averaged over the depths; the gradient crosses once, whatever the depth.
"""

from typing import Any

import torch
from torch import Tensor

from speechvq.kernels.plain import Walk

ESTIMATORS = ("straight-through", "rotation")


def cross(
    y_ND: Tensor, books: list[Tensor], walked: Walk, scale: Tensor, *, estimator: str, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(vectors, commitment, codebook): the chosen codes (N, D), bit for bit, and the two losses.

    Both losses are the summed squares times ``scale``; the gradient of the first goes to ``y_ND``, that
    of the second to the ``books`` (K, D) that are in the graph. ``share`` is how much of the gradient
    of the vectors the codes get as well (the synchronised update of Huh et al. 2023).
    """
    loss = walked.errors.sum() * scale
    if not torch.is_grad_enabled():
        return walked.total, loss, loss
    pulls = []
    if any(book.requires_grad for book in books):
        with torch.no_grad():
            pulls = [_pull(walked, b, book) for b, book in enumerate(books)]
    return _Cross.apply(  # type: ignore[return-value]
        estimator,
        share,
        len(books),
        y_ND,
        walked.total,
        walked.pull,
        walked.indices,
        loss,
        scale,
        *books,
        *pulls,
    )


def _pull(walked: Walk, b: int, codes_KD: Tensor) -> Tensor:
    """n_k c_k - s_k, half the gradient of the squared distances for the codes of book ``b``."""
    counts_K = walked.counts.sum(0) if len(walked.sums) == 1 else walked.counts[b]
    return counts_K[:, None] * codes_KD - walked.sums[b]


class _Cross(torch.autograd.Function):
    """One node for the estimator and the gradients of both losses."""

    @staticmethod
    def forward(
        ctx: Any,
        estimator: str,
        share: float,
        books: int,
        y_ND: Tensor,
        total_ND: Tensor,
        pull_ND: Tensor,
        indices_VN: Tensor,
        loss: Tensor,
        scale: Tensor,
        *codes_and_pulls: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.share, ctx.books = share, books
        pulls = codes_and_pulls[books:]
        turned = (y_ND, total_ND) if estimator == "rotation" else (None, None)
        ctx.save_for_backward(pull_ND, scale, *turned, indices_VN if share else None, *pulls)
        return total_ND.view_as(total_ND), loss.view_as(loss), loss.clone()

    @staticmethod
    def backward(
        ctx: Any, g_ND: Tensor | None, commitment: Tensor | None, codebook: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        pull_ND, scale, y_ND, total_ND, indices_VN, *pulls = ctx.saved_tensors
        dy_ND = g_ND
        if g_ND is not None and y_ND is not None:
            dy_ND = turn_back(g_ND, y_ND, total_ND)
        if commitment is not None:
            weight = 2 * scale * commitment
            dy_ND = pull_ND * weight if dy_ND is None else torch.addcmul(dy_ND, pull_ND, weight)
        dbooks: list[Tensor | None] = [None] * ctx.books
        if codebook is not None and pulls:
            dbooks = [pull_KD * (2 * scale * codebook) for pull_KD in pulls]
        if g_ND is not None and indices_VN is not None and pulls:
            dbooks = _hear(dbooks, pulls, g_ND * ctx.share, indices_VN)
        return None, None, None, dy_ND, None, None, None, None, None, *dbooks, *([None] * len(pulls))


def _hear(
    dbooks: list[Tensor | None], like: list[Tensor], g_ND: Tensor, indices_VN: Tensor
) -> list[Tensor | None]:
    """``dbooks`` and, for each code, the gradients of the vectors that chose it."""
    heard = [torch.zeros_like(one) if d is None else d for d, one in zip(dbooks, like, strict=True)]
    for v, indices_N in enumerate(indices_VN):
        b = v if len(heard) > 1 else 0
        walks_ND = torch.where((indices_N >= 0)[:, None], g_ND, 0)
        heard[b] = heard[b].index_add(0, indices_N.clamp(min=0), walks_ND)
    return list(heard)


def turn_back(g_ND: Tensor, y_ND: Tensor, q_ND: Tensor) -> Tensor:
    """The gradient for ``y`` when q = (|q| / |y|) R y, R the rotation of y onto q, taken as constant.

    R = I - 2 r r' + 2 q^ y^' with y^, q^ of length one and r that of y^ + q^; its transpose is applied,
    row by row (Fifty et al. 2024, section 4.2). A vector or code of length zero passes it unchanged.
    """
    long_y, long_q = y_ND.norm(dim=1, keepdim=True), q_ND.norm(dim=1, keepdim=True)
    tiny = torch.finfo(y_ND.dtype).tiny
    unit_y, unit_q = y_ND / long_y.clamp(min=tiny), q_ND / long_q.clamp(min=tiny)
    r_ND = torch.nn.functional.normalize(unit_y + unit_q)
    onto_r, onto_q = (r_ND * g_ND).sum(1, keepdim=True), (unit_q * g_ND).sum(1, keepdim=True)
    turned_ND = (long_q / long_y.clamp(min=tiny)) * (g_ND - 2 * onto_r * r_ND + 2 * onto_q * unit_y)
    return torch.where((long_y > 0) & (long_q > 0), turned_ND, g_ND)


def straight_through(z: Tensor, quantized: Tensor) -> Tensor:
    """``quantized``, bit for bit, whose gradient goes unchanged to ``z`` and nowhere else.

    Both have the same shape. The sum is written so that what is added is exactly zero: the usual
    ``z + (quantized - z)`` would round the code, and decoding its index would give another vector.
    """
    return quantized.detach() + (z - z.detach())


def in_backward() -> bool:
    """Whether this code runs inside a backward pass, as it does when activations are recomputed.

    A codebook that learned in the forward pass must not learn from the same batch again.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
