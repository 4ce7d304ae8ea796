"""The Triton kernel that decodes WaveNet on a GPU; `speechvq.kernels.wavenet_triton` launches it.

One program speaks U utterances and walks all layers of all its samples: the network's state stays in
registers, the weights come from the L2 cache every sample (they are shared by all programs), and
nothing returns to Python in between. Activations lie as (channels, utterances), so that a layer's
weights are the tall operand of a tensor-core product and a handful of utterances its columns.

Where weights are bfloat16, an activation is split into two bfloat16 numbers that together hold 16 of
its bits, side by side as two columns: one product serves both, and the sum is float32.

A layer's gate channels come CHUNK at a time, which bounds the shared memory that its weights take; the
loop runs over (layer, chunk), so that the weights of the next turn are under way during this one.

Legend: N utterances, T samples, U utterances of a program, L layers, R residual channels, G gate
channels (of u; the dilated convolution makes 2 G), S skip, P post, A levels, F frames (columns of
conditions). Kernel width 2, dilation 2 ** (layer % CYCLE). Importing this file needs Triton.
"""

import triton
import triton.language as tl
from triton import knobs

from speechvq.kernels.wavenet_triton_draw import drawn

INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
"""Whether Triton's interpreter runs the kernel; it has no bfloat16 product."""


@triton.jit(do_not_specialize=["N", "T", "F", "first", "last", "time", "hop", "temperature"])
def speak(
    enter_ptr: tl.tensor,  # float32 (A, R): what a level brings into the network
    dilated_ptr: tl.tensor,  # (L, 4, G, R): filter and gate of the past, filter and gate of now
    residual_ptr: tl.tensor,  # (L, R, G)
    residual_bias_ptr: tl.tensor,  # float32 (L, R)
    skip_ptr: tl.tensor,  # (L, S, G)
    skip_bias_ptr: tl.tensor,  # float32 (S,), summed over the layers
    post_ptr: tl.tensor,  # (P, S)
    post_bias_ptr: tl.tensor,  # float32 (P,)
    out_ptr: tl.tensor,  # (A, P)
    out_bias_ptr: tl.tensor,  # float32 (A,)
    conditions_ptr: tl.tensor,  # float32 (N, F, L, 2 G)
    uniforms_ptr: tl.tensor,  # float32 (N, T)
    ring_ptr: tl.tensor,  # float32 (places, N, R): dilation + 1 places a layer
    level_ptr: tl.tensor,  # int32 (N,): the level before the first; gets the last
    levels_ptr: tl.tensor,  # int32 (N, T): gets the levels from first to before last
    forced_ptr: tl.tensor,  # int32 (N, T): what counts as said in place of what was drawn, if FORCED
    logits_ptr: tl.tensor,  # float32 (N, T, A): gets what the network says, if HEARD
    N: tl.tensor, T: tl.tensor, F: tl.tensor, first: tl.tensor, last: tl.tensor,
    time: tl.tensor,  # samples spoken before the T
    hop: tl.tensor, temperature: tl.tensor,
    LAYERS: tl.constexpr, CYCLE: tl.constexpr,
    R: tl.constexpr, G: tl.constexpr, S: tl.constexpr, P: tl.constexpr, A: tl.constexpr,
    U: tl.constexpr, CHUNK: tl.constexpr,
    POST: tl.constexpr,  # post channels of one turn
    SPLIT: tl.constexpr,  # weights are bfloat16
    STAGES: tl.constexpr,
    GREEDY: tl.constexpr,  # temperature 0
    TOP_K: tl.constexpr, FORCED: tl.constexpr, HEARD: tl.constexpr,
) -> None:  # fmt: skip
    """Samples ``first`` to before ``last`` of all utterances."""
    n = tl.program_id(0) * U + tl.arange(0, U)
    real = n < N
    n = n.to(tl.int64)
    r = tl.arange(0, R)
    level = tl.load(level_ptr + n, mask=real, other=0)
    t = first
    while t < last:  # and not `for`, whose bounds the interpreter wants to know when it compiles
        # What other threads wrote into the rings at the last sample is to be seen now.
        tl.debug_barrier()
        h = tl.load(enter_ptr + level[None, :] * R + r[:, None])
        conditions = conditions_ptr + (n * F + t // hop) * (LAYERS * 2 * G)
        skip = _layers(
            h, dilated_ptr, residual_ptr, residual_bias_ptr, skip_ptr, conditions, ring_ptr, n, real, N,
            time + t, LAYERS, CYCLE, R, G, S, U, CHUNK, SPLIT, STAGES,
        )  # fmt: skip
        skip += tl.load(skip_bias_ptr + tl.arange(0, S))[:, None]
        logits = _posts(skip, post_ptr, post_bias_ptr, out_ptr, out_bias_ptr, S, P, A, U, POST, SPLIT, STAGES)
        uniform = tl.load(uniforms_ptr + n * T + t, mask=real, other=0.0)
        level = drawn(logits, uniform, temperature, A, U, GREEDY, TOP_K)
        tl.store(levels_ptr + n * T + t, level, mask=real)
        if HEARD:
            heard = logits_ptr + ((n * T + t) * A)[None, :] + tl.arange(0, A)[:, None]
            tl.store(heard, logits, mask=real[None, :])
        if FORCED:
            level = tl.load(forced_ptr + n * T + t, mask=real, other=0)
        t += 1
    tl.store(level_ptr + n, level, mask=real)


@triton.jit
def _layers(
    h: tl.tensor,
    dilated_ptr: tl.tensor,
    residual_ptr: tl.tensor,
    residual_bias_ptr: tl.tensor,
    skip_ptr: tl.tensor,
    conditions: tl.tensor,
    ring_ptr: tl.tensor,
    n: tl.tensor,
    real: tl.tensor,
    N: tl.tensor,
    now: tl.tensor,
    LAYERS: tl.constexpr, CYCLE: tl.constexpr, R: tl.constexpr, G: tl.constexpr, S: tl.constexpr,
    U: tl.constexpr, CHUNK: tl.constexpr, SPLIT: tl.constexpr, STAGES: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The skip sum (S, U) of all layers, without its bias; the rings move on."""
    r, s, g = tl.arange(0, R), tl.arange(0, S), tl.arange(0, CHUNK)
    turns: tl.constexpr = G // CHUNK
    left = h  # what the layer leaves to the next one, as far as its chunks have been gone through
    skip = _zeros(S, U, SPLIT)
    for turn in tl.range(0, LAYERS * turns, num_stages=STAGES):
        layer = turn // turns
        rows = (turn % turns) * CHUNK + g
        step = layer % CYCLE
        # One place more than the dilation: the place written is not the one read, so that no thread
        # can overwrite what another has yet to read.
        length = (1 << step) + 1
        begin = (layer // CYCLE) * ((1 << CYCLE) - 1 + CYCLE) + length - 2 + step
        old = _place(ring_ptr, begin + (now + 1) % length, n, r, N, R)
        new = _place(ring_ptr, begin + now % length, n, r, N, R)
        past = tl.load(old, mask=real[None, :], other=0.0)
        tl.store(new, h, mask=real[None, :])
        before, here = _operand(past, R, U, SPLIT), _operand(h, R, U, SPLIT)
        matrix = dilated_ptr + (layer * 4 * G + rows[:, None]) * R + r[None, :]
        filtered = _product(tl.load(matrix), before, _zeros(CHUNK, U, SPLIT))
        filtered = _product(tl.load(matrix + 2 * G * R), here, filtered)
        gate = _product(tl.load(matrix + G * R), before, _zeros(CHUNK, U, SPLIT))
        gate = _product(tl.load(matrix + 3 * G * R), here, gate)
        more = conditions[None, :] + layer * 2 * G + rows[:, None]
        a = _folded(filtered, CHUNK, U, SPLIT) + tl.load(more, mask=real[None, :], other=0.0)
        b = _folded(gate, CHUNK, U, SPLIT) + tl.load(more + G, mask=real[None, :], other=0.0)
        u = _operand((2 * tl.sigmoid(2 * a) - 1) * tl.sigmoid(b), CHUNK, U, SPLIT)
        matrix = residual_ptr + (layer * R + r[:, None]) * G + rows[None, :]
        left += _folded(_product(tl.load(matrix), u, _zeros(R, U, SPLIT)), R, U, SPLIT)
        skip = _product(tl.load(skip_ptr + (layer * S + s[:, None]) * G + rows[None, :]), u, skip)
        if turns == 1:
            left += tl.load(residual_bias_ptr + layer * R + r)[:, None]
            h = left
        else:
            whole = turn % turns == turns - 1
            bias = tl.load(residual_bias_ptr + layer * R + r)
            left += tl.where(whole, bias, 0.0)[:, None]
            h = tl.where(whole, left, h)
    return _folded(skip, S, U, SPLIT)


@triton.jit
def _posts(
    skip: tl.tensor,
    post_ptr: tl.tensor,
    post_bias_ptr: tl.tensor,
    out_ptr: tl.tensor,
    out_bias_ptr: tl.tensor,
    S: tl.constexpr,
    P: tl.constexpr,
    A: tl.constexpr,
    U: tl.constexpr,
    POST: tl.constexpr,
    SPLIT: tl.constexpr,
    STAGES: tl.constexpr,
) -> tl.tensor:
    """Logits (A, U): both last 1x1 products, POST channels between them at a time."""
    x = _operand(tl.maximum(skip, 0.0), S, U, SPLIT)
    s, a = tl.arange(0, S), tl.arange(0, A)
    logits = _zeros(A, U, SPLIT)
    for begin in tl.range(0, P, POST, num_stages=STAGES):
        p = begin + tl.arange(0, POST)
        y = _product(tl.load(post_ptr + p[:, None] * S + s[None, :]), x, _zeros(POST, U, SPLIT))
        y = _folded(y, POST, U, SPLIT) + tl.load(post_bias_ptr + p)[:, None]
        y = _operand(tl.maximum(y, 0.0), POST, U, SPLIT)
        logits = _product(tl.load(out_ptr + a[:, None] * P + p[None, :]), y, logits)
    return _folded(logits, A, U, SPLIT) + tl.load(out_bias_ptr + a)[:, None]


@triton.jit
def _place(
    ring_ptr: tl.tensor, place: tl.tensor, n: tl.tensor, r: tl.tensor, N: tl.tensor, R: tl.constexpr
) -> tl.tensor:
    """Where a ring holds (R, U) channels."""
    return ring_ptr + (place.to(tl.int64) * N + n)[None, :] * R + r[:, None]


@triton.jit
def _zeros(M: tl.constexpr, U: tl.constexpr, SPLIT: tl.constexpr) -> tl.tensor:
    """Where a product of M rows begins to add up."""
    if SPLIT:
        return tl.zeros((M, 2 * U), tl.float32)
    else:  # noqa: RET505 - Triton compiles the branch that is taken only if both are spelled out
        return tl.zeros((M, U), tl.float32)


@triton.jit
def _operand(x: tl.tensor, K: tl.constexpr, U: tl.constexpr, SPLIT: tl.constexpr) -> tl.tensor:
    """(K, U) float32 as columns of a product; if split, (K, 2 U): rounded, and what rounding left."""
    if SPLIT:
        high = x.to(tl.bfloat16).to(tl.float32)
        # Rounded after it is reshaped: Triton 3.6 fails to compile some shapes the other way round.
        return tl.reshape(tl.join(high, x - high), (K, 2 * U)).to(tl.bfloat16)
    else:  # noqa: RET505
        return x


@triton.jit
def _product(w: tl.tensor, x: tl.tensor, total: tl.tensor) -> tl.tensor:
    """``total + w @ x``, in float32 to about its last bit."""
    if INTERPRETED:
        w = w.to(tl.float32)
        x = x.to(tl.float32)
    return tl.dot(w, x, total, input_precision="tf32x3")


@triton.jit
def _folded(x: tl.tensor, M: tl.constexpr, U: tl.constexpr, SPLIT: tl.constexpr) -> tl.tensor:
    """A product (M, 2 U) of split columns as the (M, U) it stands for."""
    if SPLIT:
        return tl.sum(tl.reshape(x, (M, U, 2)), axis=2)
    else:  # noqa: RET505
        return x
