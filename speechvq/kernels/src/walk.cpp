// What Python calls: the walk through a stack of codebooks, and the search alone.
//
// Legend: N rows, D channels, K codes, V visits (depths), B books.
//
// A walk is bound by memory as soon as the search is fast. So the rows go by in tiles that stay in the
// cache, and each tile goes through all depths before the next begins (walker.h). Threads take ranges of
// rows and add up privately; their sums are merged in the order of the threads, so that the same number
// of threads gives the same result to the bit. The indices do not depend on it.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "books.h"
#include "gram.h"
#include "rows.h"
#include "search.h"
#include "threads.h"
#include "walker.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace speechvq {
namespace {

enum Status : int { DONE = 0, NO_MEMORY = 1, NO_KERNEL = 2 };

// A thread begins at a multiple of this, the rows that a kernel may take at a time.
constexpr int64_t GRAIN = 64;

// Asks for large pages under a result that nobody has touched yet: the system's zeroing of small pages,
// one fault each, can take as long as the search.
void want_large_pages(float* result, int64_t floats) {
#if defined(__linux__)
    constexpr uintptr_t PAGE = uintptr_t(1) << 21;
    const uintptr_t first = (uintptr_t(result) + PAGE - 1) / PAGE * PAGE;
    const uintptr_t last = uintptr_t(result + floats) / PAGE * PAGE;
    if (result && last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
    (void)result, (void)floats;
#endif
}

// One call: what every thread sees, and what each of them does.
class Call {
public:
    Call(const Input& in, const Books& books, const Output& out, int64_t threads)
        : in_(in),
          books_(books),
          out_(out),
          threads_(useful_threads(double(in.N) * double(in.V) * double(books.K) * double(books.D),
                                  std::min(threads, in.N / GRAIN))),
          size_(out.sums ? books.size * books.K * books.D : 0),
          own_(size_ * (threads_ - 1)) {}

    // `gram`: by the Gram matrix of the only book. Throws std::bad_alloc.
    void run(bool gram) {
        want_large_pages(out_.total, in_.N * books_.D);
        want_large_pages(out_.pull, in_.N * books_.D);
        want_large_pages(out_.sums, size_);
        std::fill(out_.sums, out_.sums + size_, 0.0f);
        if (gram) fill_gram();
        if (out_.counts) anchor_ = mean(books_.code(0, 0), books_.K, books_.D);
        for (int64_t t = 0; t < threads_; t++) add_walker(t);
        const int64_t share = (in_.N / threads_ + GRAIN) / GRAIN * GRAIN;
        in_parallel(threads_, [&](int64_t t) {
            walkers_[t]->walk(std::min(t * share, in_.N), std::min((t + 1) * share, in_.N));
        });
        if (out_.counts) merge();
    }

private:
    void fill_gram() {
        gram_ = std::make_unique<Gram>(books_.code(0, 0), books_.K, books_.D);
        in_parallel(threads_, [&](int64_t t) {
            for (int64_t part = t; part < gram_->parts(); part += threads_) gram_->fill(part);
        });
    }

    void add_walker(int64_t t) {
        float* sums = !size_ ? nullptr : t ? &own_[size_ * (t - 1)] : out_.sums;
        std::unique_ptr<Search> search;
        if (gram_) {
            search = std::make_unique<GramSearch>(*gram_, in_.N, in_.V);
        } else {
            search = std::make_unique<PlainSearch>(books_);
        }
        const float* anchor = anchor_.data();
        walkers_.push_back(std::make_unique<Walker>(in_, books_, std::move(search), out_, anchor, sums));
    }

    void merge() {
        for (int64_t i = 0; i < in_.V * books_.K; i++) {
            int64_t count = 0;
            for (const auto& walker : walkers_) count += walker->counts[i];
            out_.counts[i] = float(count);
        }
        for (int64_t i = 0; i < in_.V + 3 + books_.D; i++) {
            double sum = 0;
            for (const auto& walker : walkers_)
                sum += i < in_.V ? walker->errors[i] : walker->moments[i - in_.V];
            (i < in_.V ? out_.errors[i] : out_.moments[i - in_.V]) = float(sum);
        }
        for (size_t begin = 0; begin < own_.size(); begin += books_.D)
            fastest_rows().add(&own_[begin], out_.sums + begin % size_, books_.D);
    }

    const Input& in_;
    const Books& books_;
    const Output& out_;
    const int64_t threads_, size_;  // size_: floats of all sums
    std::vector<float> own_;        // sums of all threads but the first, which adds to the result
    std::vector<float> anchor_;
    std::unique_ptr<Gram> gram_;
    std::vector<std::unique_ptr<Walker>> walkers_;
};

}  // namespace
}  // namespace speechvq

// The name of the kernel that `asked` stands for, with K codes of D channels; null if it cannot run here.
// A null `asked` is the fastest.
EXPORT const char* speechvq_kernel_name(const char* asked, int64_t K, int64_t D) {
    const speechvq::Kernel* kernel = speechvq::choose(asked, K, D);
    return kernel ? kernel->name : nullptr;
}

// `Walk` of plain.py. Null where a result is not wanted: all but `indices`, or only `sums` (walker.h).
// `depths` may be null. `gram`: 1 and 0 say whether to go by the Gram matrix of one book, -1 leaves it to
// what is faster. Returns 0, 1 when memory is out, or 2 when there is no such kernel.
EXPORT int speechvq_walk(const char* kernel, int64_t threads, const float* x, int64_t stride, int64_t N,
                         int64_t D, const float* const* books, int64_t B, int64_t K, int64_t V, int64_t gram,
                         const int64_t* depths, int64_t* indices, float* total, float* pull, float* counts,
                         float* sums, float* errors, float* moments) try {
    using namespace speechvq;
    const Kernel* chosen = choose(kernel, K, D);
    if (!chosen) return NO_KERNEL;
    const bool by_gram = B == 1 && (gram < 0 ? Gram::pays(*chosen, N, D, K, V) : gram);
    const Books all(by_gram ? nullptr : chosen, books, B, K, D);
    const Input in = {x, stride, N, V, depths};
    const Output out = {indices, total, pull, counts, sums, errors, moments};
    Call(in, all, out, threads).run(by_gram);
    return DONE;
} catch (...) {
    return speechvq::NO_MEMORY;
}

// The nearest code of each row: `nearest` of plain.py. Returns as `speechvq_walk`.
EXPORT int speechvq_nearest(const char* kernel, int64_t threads, const float* x, int64_t stride, int64_t N,
                            int64_t D, const float* codes, int64_t K, int64_t* indices) {
    return speechvq_walk(kernel, threads, x, stride, N, D, &codes, 1, K, 1, 0, nullptr, indices, nullptr,
                         nullptr, nullptr, nullptr, nullptr, nullptr);
}
