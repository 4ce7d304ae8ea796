// See gram.h.
#include "gram.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "books.h"

namespace speechvq {
namespace {

constexpr float ROUNDING = 1.0f / (1 << 24);
// Scores of a tile, 512 KiB of them, stay in the second-level cache.
constexpr int64_t TILE_SCORES = int64_t(1) << 17;

int64_t up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

double squared(const float* x, int64_t D) {
    double sums[8] = {};  // apart, so that they are added side by side
    for (int64_t d = 0; d < D; d++) sums[d % 8] += double(x[d]) * x[d];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

bool Gram::pays(const Kernel& kernel, int64_t N, int64_t D, int64_t K, int64_t V) {
    // Measured. Matrix tiles do a depth faster than K additions; few channels too; and a matrix of more
    // than 16 MiB comes from a memory that is too slow. The matrix itself costs as much as K rows.
    return &kernel != &amx && D >= 64 && K <= 2048 && N * (V - 1) >= 2 * K;
}

Gram::Gram(const float* codes, int64_t K, int64_t D)
    : codes_(codes),
      K_(K),
      D_(D),
      P_(up(K, fastest_scores().panel)),
      do_(fastest_scores()),
      middle_(middle(codes, K, D)),
      panels_(P_ * D),
      half_(P_, INFINITY),  // no code of the padding is ever the best
      zeros_(P_),
      last_(do_.block * D),
      matrix_(new float[up(K, do_.block) * P_]),
      length_(K),
      farthest_(0) {
    const int64_t width = do_.panel;
    std::vector<float> moved(D);
    for (int64_t k = 0; k < K; k++) {
        const float* code = codes + k * D;
        float* panel = &panels_[k / width * width * D + k % width];
        for (int64_t d = 0; d < D; d++) panel[d * width] = moved[d] = code[d] - middle_[d];
        half_[k] = float(squared(moved.data(), D) / 2);
        farthest_ = std::max(farthest_, float(std::sqrt(squared(moved.data(), D))));
        length_[k] = float(std::sqrt(squared(code, D)));
    }
    const int64_t whole = K / do_.block * do_.block;
    std::copy(codes + whole * D, codes + K * D, last_.begin());
}

int64_t Gram::parts() const { return up(K_, do_.block) / do_.block; }

void Gram::fill(int64_t part) {
    const int64_t first = part * do_.block;
    const float* rows = first + do_.block > K_ ? last_.data() : codes_ + first * D_;
    do_.product(panels_.data(), zeros_.data(), rows, do_.block, D_, P_, &matrix_[first * P_]);
}

GramSearch::GramSearch(const Gram& gram, int64_t rows, int64_t V)
    : gram_(gram),
      tile_(up(std::min(std::clamp<int64_t>(TILE_SCORES / gram.P_, 32, 512), rows), gram.do_.block)),
      V_(V),
      scores_(tile_ * gram.P_),
      rows_(tile_ * gram.D_),
      left_(gram.D_),
      chosen_(tile_ * V) {}

void GramSearch::find(int64_t v, const int64_t* slots, const float* from, int64_t stride, int64_t rows,
                      int64_t* found) {
    if (v == 0) {
        begin(from, stride, rows);
        for (int64_t n = 0; n < rows; n++)
            descend(n, from + n * stride);
    }
    for (int64_t i = 0; i < rows; i++) found[i] = chosen_[slots[i] * V_ + v];
}

// The scores of a new tile.
void GramSearch::begin(const float* x, int64_t stride, int64_t rows) {
    const int64_t D = gram_.D_, all = up(rows, gram_.do_.block);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t d = 0; d < D; d++) rows_[n * D + d] = x[n * stride + d] - gram_.middle_[d];
    std::fill(rows_.begin() + rows * D, rows_.begin() + all * D, 0.0f);
    gram_.do_.product(gram_.panels_.data(), gram_.half_.data(), rows_.data(), all, D, gram_.P_,
                      scores_.data());
}

// The codes of row n of the tile, which is x, at all depths, out of its scores at the first.
void GramSearch::descend(int64_t n, const float* x) {
    const int64_t D = gram_.D_, P = gram_.P_;
    float* scores = &scores_[n * P];
    int64_t* chosen = &chosen_[n * V_];
    float length = float(std::sqrt(squared(&rows_[n * D], D)));  // of what is left, from the middle
    // How far a score may be off. A product of D factors is off by no more than D roundings of the
    // product of the lengths.
    float off = ROUNDING * (D + 8) * (length + gram_.farthest_) * gram_.farthest_;
    Best best = gram_.do_.best(scores, P);
    for (int64_t v = 0; v < V_; v++) {
        if (v) {
            best = gram_.do_.step(scores, &gram_.matrix_[chosen[v - 1] * P], P);
            const float code = gram_.length_[chosen[v - 1]];
            length += code;
            // The entry of the matrix, the addition, and the rounding of what is left.
            off += ROUNDING * ((D + 8) * code + 8 * (length + gram_.farthest_)) * gram_.farthest_;
        }
        const bool sure = best.second - best.first > 2 * off;  // not so also for what is not a number
        chosen[v] = sure ? best.at : settle(scores, best.first + 2 * off, x, chosen, v);
    }
}

// The nearest, in double, of the codes whose scores are at most `limit`.
int64_t GramSearch::settle(const float* scores, float limit, const float* x, const int64_t* chosen,
                           int64_t v) {
    const int64_t D = gram_.D_;
    std::copy(x, x + D, left_.begin());
    for (int64_t before = 0; before < v; before++)
        for (int64_t d = 0; d < D; d++) left_[d] -= gram_.codes_[chosen[before] * D + d];
    int64_t nearest = 0;
    double least = INFINITY;
    for (int64_t k = 0; k < gram_.K_; k++) {
        if (!(scores[k] <= limit)) continue;
        double distance = 0;
        for (int64_t d = 0; d < D; d++) {
            const double apart = double(left_[d]) - gram_.codes_[k * D + d];
            distance += apart * apart;
        }
        if (distance < least) least = distance, nearest = k;
    }
    return nearest;
}

}  // namespace speechvq
