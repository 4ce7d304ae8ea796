// One thread's share of a walk: its rows in tiles that stay in the cache, each tile through all depths.
//
// Legend: N rows, D channels, K codes, V visits (depths), B books.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "books.h"
#include "rows.h"
#include "search.h"

namespace speechvq {

struct Input {
    const float* x;         // (N, D), rows `stride` floats apart
    int64_t stride, N, V;
    const int64_t* depths;  // (N), how many depths each row walks; null: all V
};

// Where results go; see `Walk` in plain.py. Only `indices` wanted: all others null. `sums` may be null.
struct Output {
    int64_t* indices;  // (V, N)
    float* total;      // (N, D)
    float* pull;       // (N, D)
    float* counts;     // (V, K)
    float* sums;       // (B, K, D)
    float* errors;     // (V)
    float* moments;    // (3 + D)
};

class Walker {
public:
    // `sums`: (B, K, D) zeros that this walker alone adds to, or null. Throws std::bad_alloc.
    Walker(const Input& in, const Books& books, std::unique_ptr<Search> search, const Output& out,
           const float* anchor, float* sums);

    // Walks rows first <= n < last. Throws nothing.
    void walk(int64_t first, int64_t last);

    // What the rows so far add up to, for the caller to merge.
    std::vector<int64_t> counts;
    std::vector<double> errors, moments;

private:
    struct Row {
        int64_t n, depths;
        bool finite;
    };

    int64_t gather(int64_t first, int64_t last);
    void descend(int64_t walking);
    int64_t depth(int64_t v, int64_t walking, const float* from, int64_t stride);
    float step(int64_t v, const Row& row, int64_t k, const float* from, float* left);
    void clear(int64_t n);

    const Input& in_;
    const Books& books_;
    const std::unique_ptr<Search> search_;
    const Output& out_;
    const Rows& do_;
    const float* anchor_;
    float* sums_;
    const int64_t D_;
    const bool follow_;
    std::vector<Row> rows_;     // of the tile, those that walk on
    std::vector<int64_t> slots_;  // their numbers in the tile
    std::vector<float> left_;   // what is left of them, in the same order; one row more for what is dropped
    std::vector<int64_t> found_;
};

}  // namespace speechvq
