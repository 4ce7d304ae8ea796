// The codebooks of one call, each packed once for the search by the chosen kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel.h"

namespace speechvq {

// The kernel of that name; for a null or empty name, the one that is fastest here for K codes of D
// channels. Null when there is none.
const Kernel* choose(const char* name, int64_t K, int64_t D);

class Books {
public:
    // `codes`: the books, (K, D) contiguous each. They must outlive this. Without a kernel they are not
    // packed, and there is no `find`. Throws std::bad_alloc.
    Books(const Kernel* kernel, const float* const* codes, int64_t books, int64_t K, int64_t D);
    ~Books();
    Books(const Books&) = delete;
    Books& operator=(const Books&) = delete;

    // The nearest code of book `b`, for `rows` rows of `x`.
    void find(int64_t b, const float* x, int64_t stride, int64_t rows, int64_t* indices) const;
    // Code k of book `b`.
    const float* code(int64_t b, int64_t k) const { return codes_[b] + k * D; }

    const int64_t size, K, D;

private:
    const Kernel* kernel_;
    const float* const* codes_;
    std::vector<Packed*> packed_;
};

// The mean of the codes (D).
std::vector<float> mean(const float* codes, int64_t K, int64_t D);

// About the mean (D), on a grid as coarse as the codes are spread: a power-of-two grid makes the
// subtraction exact wherever it matters little, so that exact ties stay ties; where the offset is small
// against the spread it is zero. The same rule as `middle` in plain.py.
std::vector<float> middle(const float* codes, int64_t K, int64_t D);

}  // namespace speechvq
