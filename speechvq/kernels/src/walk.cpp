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
#include <new>
#include <thread>
#include <vector>

#include "books.h"
#include "rows.h"
#include "walker.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace speechvq {
namespace {

enum Status : int { DONE = 0, NO_MEMORY = 1, NO_KERNEL = 2 };

// Multiplications that take about a millisecond; less is not worth a thread.
constexpr double WORTH_A_THREAD = 5e7;
// A thread begins at a multiple of this, the rows that a kernel may take at a time.
constexpr int64_t GRAIN = 64;

int64_t useful_threads(const Input& in, const Books& books, int64_t asked) {
    const double work = double(in.N) * double(in.V) * double(books.K) * double(books.D);
    const int64_t worth = int64_t(std::min(work / WORTH_A_THREAD, 1e6));
    return std::clamp<int64_t>(std::min(worth, in.N / GRAIN), 1, std::max<int64_t>(asked, 1));
}

void merge(const std::vector<std::unique_ptr<Walker>>& walkers, const Books& books, const Input& in,
           const Output& out) {
    const Walker& first = *walkers[0];
    for (size_t i = 0; i < first.counts.size(); i++) {
        int64_t count = 0;
        for (const auto& walker : walkers) count += walker->counts[i];
        out.counts[i] = float(count);
    }
    for (int64_t i = 0; i < in.V + 3 + books.D; i++) {
        double sum = 0;
        for (const auto& walker : walkers)
            sum += i < in.V ? walker->errors[i] : walker->moments[i - in.V];
        (i < in.V ? out.errors[i] : out.moments[i - in.V]) = float(sum);
    }
}

// Asks for large pages under a result that nobody has touched yet: the system's zeroing of small pages,
// one fault each, can take as long as the search.
void want_large_pages(float* result, int64_t floats) {
#if defined(__linux__)
    constexpr uintptr_t PAGE = uintptr_t(1) << 21;
    const uintptr_t first = (uintptr_t(result) + PAGE - 1) / PAGE * PAGE;
    const uintptr_t last = uintptr_t(result + floats) / PAGE * PAGE;
    if (result && last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

void run(const Input& in, const Books& books, const Output& out, int64_t threads) {
    const int64_t size = out.sums ? books.size * books.K * books.D : 0;
    const std::vector<float> anchor = out.counts ? mean(books.code(0, 0), books.K, books.D)
                                                : std::vector<float>();
    want_large_pages(out.total, in.N * books.D);
    want_large_pages(out.pull, in.N * books.D);
    want_large_pages(out.sums, size);
    std::fill(out.sums, out.sums + size, 0.0f);
    threads = useful_threads(in, books, threads);
    std::vector<float> own(size * (threads - 1));  // the first adds to the result itself
    std::vector<std::unique_ptr<Walker>> walkers;
    for (int64_t t = 0; t < threads; t++) {
        float* sums = !size ? nullptr : t ? &own[size * (t - 1)] : out.sums;
        walkers.push_back(std::make_unique<Walker>(in, books, out, anchor.data(), sums));
    }
    const int64_t share = (in.N / threads + GRAIN) / GRAIN * GRAIN;
    const auto walk = [&](int64_t t) {
        walkers[t]->walk(std::min(t * share, in.N), std::min((t + 1) * share, in.N));
    };
    std::vector<std::thread> helpers;
    int64_t started = 1;
    try {
        for (; started < threads; started++) helpers.emplace_back(walk, started);
    } catch (...) {  // no more threads to be had: this one does their work too
    }
    walk(0);
    for (int64_t t = started; t < threads; t++) walk(t);
    for (std::thread& helper : helpers) helper.join();
    for (int64_t t = 1; t < threads && size; t++)
        for (int64_t first = 0; first < size; first += books.D)
            fastest_rows().add(&own[size * (t - 1) + first], out.sums + first, books.D);
    if (out.counts) merge(walkers, books, in, out);
}

}  // namespace
}  // namespace speechvq

// The name of the kernel that `asked` (null: the fastest) stands for; null if it cannot run here.
EXPORT const char* speechvq_kernel_name(const char* asked) {
    const speechvq::Kernel* kernel = speechvq::choose(asked);
    return kernel ? kernel->name : nullptr;
}

// `Walk` of plain.py. Null where a result is not wanted: all but `indices`, or only `sums` (walker.h).
// `depths` may be null. Returns 0, 1 when memory is out, or 2 when there is no such kernel.
EXPORT int speechvq_walk(const char* kernel, int64_t threads, const float* x, int64_t stride, int64_t N,
                         int64_t D, const float* const* books, int64_t B, int64_t K, int64_t V,
                         const int64_t* depths, int64_t* indices, float* total, float* pull, float* counts,
                         float* sums, float* errors, float* moments) try {
    using namespace speechvq;
    const Kernel* chosen = choose(kernel);
    if (!chosen) return NO_KERNEL;
    const Books packed(*chosen, books, B, K, D);
    run({x, stride, N, V, depths}, packed, {indices, total, pull, counts, sums, errors, moments}, threads);
    return DONE;
} catch (...) {
    return speechvq::NO_MEMORY;
}

// The nearest code of each row: `nearest` of plain.py. Returns as `speechvq_walk`.
EXPORT int speechvq_nearest(const char* kernel, int64_t threads, const float* x, int64_t stride, int64_t N,
                            int64_t D, const float* codes, int64_t K, int64_t* indices) {
    return speechvq_walk(kernel, threads, x, stride, N, D, &codes, 1, K, 1, nullptr, indices, nullptr,
                         nullptr, nullptr, nullptr, nullptr, nullptr);
}
