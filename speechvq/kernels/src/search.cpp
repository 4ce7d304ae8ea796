// See search.h.
#include "search.h"

#include <algorithm>

namespace speechvq {

// A mebibyte of rows: small enough for a second-level cache, and enough work for each time that the
// codes and sums of a depth come back from the cache behind it.
constexpr int64_t TILE_FLOATS = int64_t(1) << 18;

int64_t PlainSearch::tile() const {
    return std::clamp<int64_t>(TILE_FLOATS / books_.D / 32 * 32, 32, 4096);
}

void PlainSearch::find(int64_t v, const int64_t*, const float* from, int64_t stride, int64_t rows,
                       int64_t* found) {
    books_.find(books_.size > 1 ? v : 0, from, stride, rows, found);
}

}  // namespace speechvq
