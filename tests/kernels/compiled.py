"""Compiles the kernels of the search for an H100, with or without one; `test_gpu` runs it.

Prints a line for each: its name, its shared memory in bytes, and how many float32 multiply-adds,
tensor-core products, and instructions that flush subnormal scores are in its code.
"""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from speechvq.kernels import gpu, gpu_kernels

TENSORS = {
    "exact": "*fp32 *fp32 *fp32 *fp32 *i32 *i32 *i64",
    "sift": "*fp32 {codes} *fp32 *fp32 *fp32 *i32 *i32 *i64",
}


def compiled(name, tile, constants, *, codes="*fp32"):
    """The kernel for rows of D contiguous channels."""
    kernel = getattr(gpu_kernels, name)
    constants |= {"ROWS": tile.rows, "CODES": gpu.CODES, "CHANNELS": tile.channels, "channel_step": 1}
    types = TENSORS[name].format(codes=codes).split() + ["i32"] * 5
    signature = dict(zip(kernel.arg_names, types, strict=False))
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {argument: signature[argument] for argument in kernel.arg_names}
    aligned = [i for i, kind in enumerate(signature.values()) if kind.startswith("*")]
    aligned.append(kernel.arg_names.index("row_step"))
    hints = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=hints)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=tile.options())


def main():
    """Two tiles of the float32 search, two of the first pass: all channels at once, and in blocks."""
    for listed in (False, True):
        tile = gpu.exact_tile(32768, processors=132, listed=listed)
        report("exact", compiled("exact", tile, {"K": 1000, "D": 64, "LISTED": listed}))
    for D, tf32 in ((64, False), (256, True)):
        tile = gpu.sift_tile(32768, D, processors=132, tf32=tf32)
        constants = {"K": 1000, "D": D, "WHOLE": tile.channels >= D, "TF32": tf32}
        report("sift", compiled("sift", tile, constants, codes="*fp32" if tf32 else "*bf16"))


def report(name, kernel):
    """One line."""
    ptx = kernel.asm["ptx"]
    flushes = sum(ptx.count(f"{word}.ftz") for word in ("min", "max", "add", "sub", "fma.rn", "setp.eq"))
    figures = kernel.metadata.shared, ptx.count("fma.rn.f32"), ptx.count("wgmma.mma_async"), flushes
    print(name, *figures)


if __name__ == "__main__":
    main()
