// The nearest code of each row: what one instruction set offers, and who offers it.
//
// Every kernel answers the same question with the same rule: argmin over k of |x - c_k|^2, computed as
// argmin of |c_k - m|^2 / 2 - (x - m).(c_k - m) with m the middle of the codes, so that a large common
// offset does not cancel; exact ties go to the lowest k. Nothing of size rows x K is ever written.
#pragma once

#include <cstdint>

namespace speechvq {

// One codebook in the order a kernel reads it. Made by `pack`, given back by `release`.
struct Packed;

struct Kernel {
    const char* name;
    // Whether this processor (and this build) can run it.
    bool (*usable)();
    // `codes` (K, D) contiguous, which stay as they are until `release`; `middle` (D). Null when memory is out.
    Packed* (*pack)(const float* codes, int64_t K, int64_t D, const float* middle);
    // The nearest code, in [0, K), of `rows` rows of `x`, `stride` floats apart. Safe to call from several
    // threads on one `Packed`. A row that is not finite gets some index in [0, K).
    void (*find)(const Packed* packed, const float* x, int64_t stride, int64_t rows, int64_t* indices);
    void (*release)(Packed* packed);
};

// Fastest last. Those a compiler cannot build say so by `usable`.
extern const Kernel generic, avx2, avx512, amx;

}  // namespace speechvq
