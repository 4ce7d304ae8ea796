// All scores of a few rows, and one step from the scores of a depth to those of the next, for each
// instruction set. What gram.h is made of.
//
// Legend: D channels, K codes, P codes with padding.
#pragma once

#include <cstdint>

namespace speechvq {

// The lowest score, the next lowest, and where the lowest is (any of them when they are equal).
struct Best {
    float first, second;
    int32_t at;
};

struct Scores {
    // Rows come in blocks of so many, codes in panels of so many.
    int64_t block, panel;
    // out[n, k] = start[k] - x[n].code[k] for all P codes and `rows` rows of D floats, a multiple of
    // `block`. `panels`: the codes as (P / panel, D, panel).
    void (*product)(const float* panels, const float* start, const float* x, int64_t rows, int64_t D,
                    int64_t P, float* out);
    // The best of `scores` (P).
    Best (*best)(const float* scores, int64_t P);
    // The same after scores -= row.
    Best (*step)(float* scores, const float* row, int64_t P);
};

// The widest this processor runs.
const Scores& fastest_scores();

}  // namespace speechvq
