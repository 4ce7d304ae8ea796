"""The two Triton kernels of the search on a GPU; `speechvq.kernels.gpu` launches them.

`exact` is the search in float32. `sift` is a cheap first pass on the tensor cores that also proves,
row by row, that `exact` would have found the same index; the rows it cannot prove go on a list.
Neither ever writes a score: a program holds ROWS vectors, walks all codes CODES at a time, and keeps
what is best so far in registers.

Legend: y = x - middle, c = code - middle; score of a code = |c|^2 / 2 - y.c, smallest is nearest.
Codes come padded with zeros to whole tiles and with FAR as their |c|^2 / 2, so that only the rows
and channels of x need masks. Importing this file needs Triton.
"""

import triton
import triton.language as tl
from triton import knobs

FAR = tl.constexpr(3.0e38)
"""|c|^2 / 2 of a code that only pads a tile; finite, so that it survives the packing in `sift`."""
INTERPRETED = tl.constexpr(bool(knobs.runtime.interpret))
"""Whether Triton's interpreter runs the kernels; it has no bfloat16 product."""
LANES = tl.constexpr(4)
"""Neighbouring scores that one thread holds in `exact`; the running best is one per so many codes."""


@triton.jit(do_not_specialize=["N"])
def exact(
    x_ptr: tl.tensor,  # float32 (N, D), strides row_step and channel_step
    codes_ptr: tl.tensor,  # float32 (D', K'): c transposed, K' and D' rounded up to whole tiles
    half_ptr: tl.tensor,  # float32 (K',): |c|^2 / 2
    middle_ptr: tl.tensor,  # float32 (D',)
    list_ptr: tl.tensor,  # int32 (N,): the rows to search, if LISTED
    count_ptr: tl.tensor,  # int32 (1,): how many the list holds, if LISTED
    out_ptr: tl.tensor,  # int64 (N,)
    N: tl.tensor,
    K: tl.constexpr,
    D: tl.constexpr,
    row_step: tl.tensor,
    channel_step: tl.tensor,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    CHANNELS: tl.constexpr,
    LISTED: tl.constexpr,
) -> None:
    """Index of the nearest code, in float32 throughout; of equally near ones the lowest index."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if LISTED:
        N = tl.load(count_ptr)
        if tl.program_id(0) * ROWS >= N:  # nothing left to do, as for most programs of a good first pass
            return
        in_range = rows < N
        rows = tl.load(list_ptr + rows, mask=in_range, other=0)
    else:
        in_range = rows < N
    x_ptrs = x_ptr + rows.to(tl.int64)[:, None] * row_step
    width = tl.cdiv(K, CODES) * CODES
    # One running best per row and LANES codes: a thread compares what it holds and asks no other.
    best = tl.full((ROWS, CODES // LANES), float("inf"), tl.float32)
    at = tl.zeros((ROWS, CODES // LANES), tl.int32)
    for first in range(0, K, CODES):
        codes = first + tl.arange(0, CODES)
        dot = tl.zeros((ROWS, CODES), tl.float32)
        for channel in range(0, D, CHANNELS):
            channels = channel + tl.arange(0, CHANNELS)
            y = _moved(x_ptrs, middle_ptr, channels, in_range, D, channel_step)
            c = tl.load(codes_ptr + channels[:, None].to(tl.int64) * width + codes[None, :])
            dot = tl.dot(y, c, dot, input_precision="ieee")
        score = tl.load(half_ptr + codes)[None, :] - dot
        score = tl.reshape(score, (ROWS, CODES // LANES, LANES))
        lane = tl.arange(0, LANES)[None, None, :]
        low = tl.min(score, axis=2)
        lowest = tl.min(tl.where(score == low[:, :, None], lane, LANES), axis=2)
        at = tl.where(low < best, first + lowest, at)  # strictly: an equal code that comes later loses
        best = tl.minimum(low, best)
    at += tl.arange(0, CODES // LANES)[None, :] * LANES
    low = tl.min(best, axis=1)
    found = tl.min(tl.where(best == low[:, None], at, K), axis=1)
    # A row that is not finite has compared with nothing: any index will do, but it must be one.
    tl.store(out_ptr + rows, tl.minimum(found, K - 1).to(tl.int64), mask=in_range)


@triton.jit(do_not_specialize=["N"])
def sift(
    x_ptr: tl.tensor,  # float32 (N, D), strides row_step and channel_step
    codes_ptr: tl.tensor,  # bfloat16, or float32 that TF32 holds exactly, (K', D'): c rounded
    half_ptr: tl.tensor,  # float32 (K',): |c|^2 / 2 of the codes before rounding
    middle_ptr: tl.tensor,  # float32 (D',)
    reach_ptr: tl.tensor,  # float32 (2,): the largest |c|^2, the largest |c - its rounding|^2
    list_ptr: tl.tensor,  # int32 (N,): gets the rows that are not proven, in any order
    count_ptr: tl.tensor,  # int32 (1,), 0 at first: gets their number
    out_ptr: tl.tensor,  # int64 (N,)
    N: tl.tensor,
    K: tl.constexpr,
    D: tl.constexpr,
    row_step: tl.tensor,
    channel_step: tl.tensor,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    CHANNELS: tl.constexpr,
    WHOLE: tl.constexpr,  # all channels are one block, so that y stays where it is
    TF32: tl.constexpr,
) -> None:
    """Index of the nearest code from rounded products, and which rows are thereby proven."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    in_range = rows < N
    x_ptrs = x_ptr + rows.to(tl.int64)[:, None] * row_step
    depth = tl.cdiv(D, CHANNELS) * CHANNELS
    bound = _bound(x_ptrs, middle_ptr, reach_ptr, in_range, D, channel_step, ROWS, CHANNELS, TF32)
    inner = tl.arange(0, CHANNELS)
    y = _rounded(_moved(x_ptrs, middle_ptr, inner, in_range, D, channel_step), TF32)
    best = tl.full((ROWS,), FAR, tl.float32)
    second = tl.full((ROWS,), FAR, tl.float32)
    tile = tl.zeros((ROWS,), tl.int32)
    columns = tl.arange(0, CODES)
    for first in range(0, K, CODES):
        c_ptrs = codes_ptr + (first + columns)[None, :].to(tl.int64) * depth
        dot = tl.zeros((ROWS, CODES), tl.float32)
        if WHOLE:
            dot = _product(y, tl.load(c_ptrs + inner[:, None]), dot)
        else:
            for channel in range(0, D, CHANNELS):
                channels = channel + inner
                y = _rounded(_moved(x_ptrs, middle_ptr, channels, in_range, D, channel_step), TF32)
                dot = _product(y, tl.load(c_ptrs + channels[:, None]), dot)
        score = tl.load(half_ptr + first + columns)[None, :] - dot
        # The column takes the place of the last bits: one minimum finds the score and the column.
        bits = (score.to(tl.int32, bitcast=True) & -CODES) | columns[None, :]
        score = bits.to(tl.float32, bitcast=True)
        low = tl.min(score, axis=1)
        next_low = tl.min(tl.where(score == low[:, None], FAR, score), axis=1)
        second = tl.minimum(tl.minimum(second, next_low), tl.maximum(best, low))
        tile = tl.where(low < best, first, tile)
        best = tl.minimum(best, low)
    found = tl.minimum(tile + (best.to(tl.int32, bitcast=True) & (CODES - 1)), K - 1)
    tl.store(out_ptr + rows, found.to(tl.int64), mask=in_range)
    # What the packing may have moved: CODES units in the last place of either score, and a few more.
    moved = (CODES + 8) * 1.1920929e-07 * (tl.abs(best) + tl.abs(second))
    proven = (second - best) - moved > bound  # false for NaN
    missing = (in_range & (proven == 0)).to(tl.int32)
    place = tl.atomic_add(count_ptr, tl.sum(missing, axis=0)) + tl.cumsum(missing, axis=0) - missing
    tl.store(list_ptr + place, rows, mask=missing > 0)


@triton.jit
def _moved(
    x_ptrs: tl.tensor,
    middle_ptr: tl.tensor,
    channels: tl.tensor,
    in_range: tl.tensor,
    D: tl.constexpr,
    channel_step: tl.tensor,
) -> tl.tensor:
    """Some channels of y, (rows, channels)."""
    here = in_range[:, None] & (channels[None, :] < D)
    x = tl.load(x_ptrs + channels[None, :].to(tl.int64) * channel_step, mask=here, other=0.0)
    return x - tl.load(middle_ptr + channels)[None, :]


@triton.jit
def _rounded(y: tl.tensor, TF32: tl.constexpr) -> tl.tensor:
    """``y`` to the nearest number that the tensor cores take without rounding it themselves."""
    if TF32:
        bits = (y.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
        return bits.to(tl.float32, bitcast=True)
    else:  # noqa: RET505 - Triton compiles the branch that is taken only if both are spelled out
        return y.to(tl.bfloat16)


@triton.jit
def _product(y: tl.tensor, c: tl.tensor, dot: tl.tensor) -> tl.tensor:
    """``dot + y @ c`` on the tensor cores, summed in float32."""
    if INTERPRETED:
        y = y.to(tl.float32)
        c = c.to(tl.float32)
    return tl.dot(y, c, dot, input_precision="tf32")


@triton.jit
def _bound(
    x_ptrs: tl.tensor,
    middle_ptr: tl.tensor,
    reach_ptr: tl.tensor,
    in_range: tl.tensor,
    D: tl.constexpr,
    channel_step: tl.tensor,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TF32: tl.constexpr,
) -> tl.tensor:
    """How far apart two scores of a row must be for `exact` to order them as `sift` does, (ROWS,).

    With y = y' + dy and c = c' + dc, where ' is rounded: y.c - y'.c' = dy.c + y'.dc, at most
    |dy| |c| + |y'| |dc| (Cauchy and Schwarz). A float32 sum of D products is off by at most D units
    of 2^-24 of |y| |c| when each addition rounds, and by less than 4 D when the tensor cores cut
    off instead; 6 D + 32 covers both kernels. Norms are taken a little larger than they come out.
    """
    kept = tl.zeros((ROWS,), tl.float32)
    lost = tl.zeros((ROWS,), tl.float32)
    for channel in range(0, D, CHANNELS):
        channels = channel + tl.arange(0, CHANNELS)
        y = _moved(x_ptrs, middle_ptr, channels, in_range, D, channel_step)
        low = _rounded(y, TF32).to(tl.float32)
        kept += tl.sum(low * low, axis=1)
        lost += tl.sum((y - low) * (y - low), axis=1)
    depth = tl.cdiv(D, CHANNELS) * CHANNELS + 16
    kept = _norm(kept, depth)
    lost = _norm(lost, depth)
    reach = _norm(tl.load(reach_ptr), depth)
    slip = _norm(tl.load(reach_ptr + 1), depth)
    products = (6 * depth) * 5.9604645e-08 * (kept + lost) * (reach + slip)
    # The last term is what may vanish below the smallest normal number. 2: both scores move.
    return 2.01 * (lost * reach + kept * slip + products + depth * 1.9e-37)


@triton.jit
def _norm(squares: tl.tensor, depth: tl.tensor) -> tl.tensor:
    """Square root of a sum of ``depth`` squares, not below the true one: rounding and underflow."""
    return tl.sqrt((squares + depth * 1.1754944e-38) * (1.0 + depth * 1.1920929e-07))
