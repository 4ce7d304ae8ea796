"""Drawing a level from logits in a Triton kernel: temperature, top-k, inverse of the distribution.

The same draw as `speechvq.nets.sampling.sample` in float32, from uniform numbers that come from outside.
Everything goes by columns, one an utterance. Legend: A levels, U utterances.
"""

import triton
import triton.language as tl


@triton.jit
def drawn(
    logits: tl.tensor,
    uniform: tl.tensor,
    temperature: tl.tensor,
    A: tl.constexpr,
    U: tl.constexpr,
    GREEDY: tl.constexpr,
    TOP_K: tl.constexpr,
) -> tl.tensor:
    """A level (U,) int32 of each column of ``logits``, by inverting its cumulative distribution."""
    a = tl.arange(0, A)[:, None]
    most = tl.max(logits, axis=0)
    if GREEDY:
        return tl.min(tl.where(logits == most[None, :], a, A - 1), axis=0)
    weight = tl.exp((logits - most[None, :]) / temperature)
    if TOP_K > 0 and TOP_K < A:
        weight = tl.where(_among(logits, A, U, TOP_K), weight, 0.0)
    cumulative = tl.cumsum(weight, axis=0)
    total = tl.max(cumulative, axis=0)
    reached = uniform * total
    place = tl.sum((cumulative <= reached[None, :]).to(tl.int32), axis=0)
    # A product that rounded up to the total would reach beyond the last level of any probability.
    possible = tl.max(tl.where(weight > 0.0, a, 0), axis=0)
    return tl.minimum(place, possible)


@triton.jit
def _among(logits: tl.tensor, A: tl.constexpr, U: tl.constexpr, TOP_K: tl.constexpr) -> tl.tensor:
    """Whether a logit is at least the TOP_K-th largest of its column: 32 bits by bisection.

    Float32 numbers are ordered as their bits are, once those of negative numbers are turned over.
    """
    bits = (logits + 0.0).to(tl.int32, bitcast=True)
    order = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    least = tl.full((U,), -(1 << 31), tl.int64)
    for turn in range(32):
        tried = least + (tl.full((U,), 1, tl.int64) << (31 - turn))
        held = tl.sum((order >= tried[None, :]).to(tl.int32), axis=0)
        least = tl.where(held >= TOP_K, tried, least)
    return order >= least[None, :]
