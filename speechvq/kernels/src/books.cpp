// See books.h.
//
// Legend: K codes, D channels.
#include "books.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

namespace speechvq {

const Kernel* choose(const char* name, int64_t K, int64_t D) {
    const bool any = !name || !*name;
    const bool small = D < 16 || K * D < 8192;  // matrix tiles do not pay: measured
    const Kernel* chosen = nullptr;
    for (const Kernel* kernel : {&generic, &avx2, &avx512, &amx}) {
        if (any ? small && kernel == &amx : std::strcmp(name, kernel->name) != 0) continue;
        if (kernel->usable()) chosen = kernel;
    }
    return chosen;
}

std::vector<float> mean(const float* codes, int64_t K, int64_t D) {
    std::vector<double> sums(D);
    for (int64_t k = 0; k < K; k++)
        for (int64_t d = 0; d < D; d++) sums[d] += codes[k * D + d];
    std::vector<float> means(D);
    for (int64_t d = 0; d < D; d++) means[d] = float(sums[d] / double(K));
    return means;
}

std::vector<float> middle(const float* codes, int64_t K, int64_t D) {
    std::vector<float> at = mean(codes, K, D);
    float spread = 1e-30f;
    for (int64_t k = 0; k < K; k++)
        for (int64_t d = 0; d < D; d++) spread = std::max(spread, std::fabs(codes[k * D + d] - at[d]));
    const float step = std::exp2(std::ceil(std::log2(spread)));
    for (float& m : at) {
        m = std::nearbyint(m / step) * step;
        if (!std::isfinite(m)) m = 0;
    }
    return at;
}

Books::Books(const Kernel* kernel, const float* const* codes, int64_t books, int64_t K, int64_t D)
    : size(books), K(K), D(D), kernel_(kernel), codes_(codes), packed_(kernel ? books : 0) {
    for (int64_t b = 0; kernel && b < books; b++) {
        packed_[b] = kernel->pack(codes[b], K, D, middle(codes[b], K, D).data());
        if (!packed_[b]) {
            for (int64_t made = 0; made < b; made++) kernel->release(packed_[made]);
            throw std::bad_alloc();
        }
    }
}

Books::~Books() {
    for (Packed* packed : packed_) kernel_->release(packed);
}

void Books::find(int64_t b, const float* x, int64_t stride, int64_t rows, int64_t* indices) const {
    if (rows) kernel_->find(packed_[b], x, stride, rows, indices);
    for (int64_t n = 0; n < rows; n++)  // a code that is not finite must not lead out of the book
        if (indices[n] < 0 || indices[n] >= K) indices[n] = 0;
}

}  // namespace speechvq
