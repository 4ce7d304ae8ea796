// See walker.h.
#include "walker.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace speechvq {

Walker::Walker(const Input& in, const Books& books, std::unique_ptr<Search> search, const Output& out,
               const float* anchor, float* sums)
    : counts(out.counts ? in.V * books.K : 0),
      errors(in.V),
      moments(3 + books.D),
      in_(in),
      books_(books),
      search_(std::move(search)),
      out_(out),
      do_(fastest_rows()),
      anchor_(anchor),
      sums_(sums),
      D_(books.D),
      follow_(out.counts),
      rows_(std::min(search_->tile(), in.N)),
      slots_(rows_.size()),
      left_((rows_.size() + 1) * D_),
      found_(rows_.size()) {}

void Walker::walk(int64_t first, int64_t last) {
    const int64_t most = search_->tile();
    for (; first < last; first += most) descend(gather(first, std::min(first + most, last)));
}

// Lists the rows that walk at least one depth, and writes what the others get. Returns how many walk.
int64_t Walker::gather(int64_t first, int64_t last) {
    int64_t walking = 0;
    for (int64_t n = first; n < last; n++) {
        const int64_t depths = in_.depths ? std::min(in_.depths[n], in_.V) : in_.V;
        for (int64_t v = std::max<int64_t>(depths, 0); v < in_.V; v++) out_.indices[v * in_.N + n] = -1;
        if (depths <= 0) {
            clear(n);
            continue;
        }
        slots_[walking] = walking;
        rows_[walking++] = {n, depths, false};
    }
    return walking;
}

void Walker::clear(int64_t n) {
    if (!follow_) return;
    std::memset(out_.total + n * D_, 0, D_ * sizeof(float));
    std::memset(out_.pull + n * D_, 0, D_ * sizeof(float));
}

void Walker::descend(int64_t walking) {
    if (!walking) return;
    const int64_t first = rows_[0].n;
    const float* from = in_.x + first * in_.stride;
    int64_t stride = in_.stride;
    if (rows_[walking - 1].n - first + 1 != walking) {  // not in one piece
        for (int64_t i = 0; i < walking; i++)
            std::memcpy(&left_[i * D_], in_.x + rows_[i].n * in_.stride, D_ * sizeof(float));
        from = left_.data();
        stride = D_;
    }
    for (int64_t v = 0; v < in_.V && walking; v++) {
        walking = depth(v, walking, from, stride);
        from = left_.data();
        stride = D_;
    }
}

// One depth of all rows that walk it. Returns how many walk on; they and what is left of them are moved
// to the front.
int64_t Walker::depth(int64_t v, int64_t walking, const float* from, int64_t stride) {
    search_->find(v, slots_.data(), from, stride, walking, found_.data());
    float* const dropped = &left_[rows_.size() * D_];
    int64_t on = 0;
    for (int64_t i = 0; i < walking; i++) {
        Row& row = rows_[i];
        const bool goes_on = v + 1 < row.depths;
        out_.indices[v * in_.N + row.n] = found_[i];
        const float* x = from + i * stride;
        if (v == 0 && follow_) {
            row.finite = do_.finite(x, D_);
            if (row.finite) moments[2] += do_.moments(x, anchor_, &moments[3], D_);
        }
        const float error = step(v, row, found_[i], x, goes_on ? &left_[on * D_] : dropped);
        if (goes_on) {  // never overtakes i: a row's place is read before it is written
            slots_[on] = slots_[i];
            rows_[on++] = row;
        } else if (row.finite) {
            moments[0] += 1;
            moments[1] += error;
        }
    }
    return on;
}

// Takes the code from what is left of one row, and follows it into the sums. Returns what then is left,
// squared.
float Walker::step(int64_t v, const Row& row, int64_t k, const float* from, float* left) {
    const int64_t b = books_.size > 1 ? v : 0;
    const float* code = books_.code(b, k);
    if (!follow_) {
        if (v + 1 < row.depths) do_.subtract(from, code, left, D_);
        return 0;
    }
    float* sums = row.finite && sums_ ? sums_ + (b * books_.K + k) * D_ : nullptr;
    float* total = out_.total + row.n * D_;
    float* pull = out_.pull + row.n * D_;
    const float error = (v ? do_.step : do_.step_first)(from, code, left, total, pull, sums, D_);
    counts[v * books_.K + k] += row.finite;
    errors[v] += error;
    return error;
}

}  // namespace speechvq
