// The walk through one codebook again and again: each depth's scores out of those of the depth before.
//
// With code j taken away, x.c_k has become (x - c_j).c_k: every score of the next depth is the last one
// plus c_j.c_k, an entry of the codes' Gram matrix. So all depths together cost one matrix product, and
// then one row of K additions each. What rounding may have done is bounded, row by row; where the best two
// are closer than that, the codes that may be the nearest are measured again, in double.
//
// Legend: D channels, K codes, P codes with padding, V visits (depths).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernel.h"
#include "scores.h"
#include "search.h"

namespace speechvq {

// What all threads share of one codebook.
class Gram {
public:
    // Whether a walk of N rows takes less time this way than depth by depth with that kernel.
    static bool pays(const Kernel& kernel, int64_t N, int64_t D, int64_t K, int64_t V);

    // `codes` (K, D) must outlive this. Throws std::bad_alloc.
    Gram(const float* codes, int64_t K, int64_t D);

    // The matrix is filled in parts, so that threads may share the work: part p of `parts()`.
    int64_t parts() const;
    void fill(int64_t part);  // throws nothing

private:
    friend class GramSearch;

    const float* codes_;
    const int64_t K_, D_, P_;
    const Scores& do_;
    std::vector<float> middle_, panels_, half_, zeros_;
    std::vector<float> last_;          // the codes of the last part, with zeros behind them
    std::unique_ptr<float[]> matrix_;  // (K, P): -c_j.(c_k - middle)
    std::vector<float> length_;        // |c_j|
    float farthest_;                   // the largest |c_k - middle|
};

// One thread's scores. All depths of a row are found at once, when the walk asks for the first: so the
// scores of a row stay in the first-level cache.
class GramSearch final : public Search {
public:
    // For `rows` rows in all. Throws std::bad_alloc.
    GramSearch(const Gram& gram, int64_t rows, int64_t V);
    int64_t tile() const override { return tile_; }
    void find(int64_t v, const int64_t* slots, const float* from, int64_t stride, int64_t rows,
              int64_t* found) override;

private:
    void begin(const float* x, int64_t stride, int64_t rows);
    void descend(int64_t n, const float* x);
    int64_t settle(const float* scores, float limit, const float* x, const int64_t* chosen, int64_t v);

    const Gram& gram_;
    const int64_t tile_, V_;
    std::vector<float> scores_, rows_, left_;
    std::vector<int64_t> chosen_;  // (tile, V)
};

}  // namespace speechvq
