// What a walk does to one row besides the search: sums over D floats, for each instruction set.
//
// Legend: D channels, W floats of one vector register.
//
// The library is built for any processor of its family, so the wide versions are functions of their own
// (attribute target), into which the same template is inlined; `fastest_rows` picks one at run time.
#pragma once

#include <cstdint>

namespace speechvq {

struct Rows {
    // Whether all of `x` are finite.
    bool (*finite)(const float* x, int64_t D);
    // Adds x - anchor to `sums`, and returns |x - anchor|^2.
    float (*moments)(const float* x, const float* anchor, double* sums, int64_t D);
    // left = from - code; `left` may be `from`.
    void (*subtract)(const float* from, const float* code, float* left, int64_t D);
    // The same, and: total = code, pull = left at a row's first depth (`_first`), total += code,
    // pull += left at the others; sums += from unless `sums` is null. Returns |left|^2.
    float (*step_first)(const float* from, const float* code, float* left, float* total, float* pull,
                        float* sums, int64_t D);
    float (*step)(const float* from, const float* code, float* left, float* total, float* pull,
                  float* sums, int64_t D);
    // sums += x.
    void (*add)(const float* x, float* sums, int64_t D);
};

// The widest this processor runs.
const Rows& fastest_rows();

}  // namespace speechvq
