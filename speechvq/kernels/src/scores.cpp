// See scores.h. Vectors are GCC's and clang's vector extension, inlined into functions for each target.
//
// Legend: D channels, P codes with padding, V a vector of W floats, R rows of a block.
#include "scores.h"

#include <limits>

#define INLINE inline __attribute__((always_inline))

namespace speechvq {
namespace {

typedef float Float4 __attribute__((vector_size(16)));
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float16 __attribute__((vector_size(64)));
typedef int32_t Int4 __attribute__((vector_size(16)));
typedef int32_t Int8 __attribute__((vector_size(32)));
typedef int32_t Int16 __attribute__((vector_size(64)));

template <class V> INLINE void load(V& v, const float* from) { __builtin_memcpy(&v, from, sizeof v); }
template <class V> INLINE void store(float* to, const V& v) { __builtin_memcpy(to, &v, sizeof v); }

// One block of R rows against one panel of 2 W codes, all of it in registers.
template <class V, int R>
INLINE void block(const float* panel, const float* start, const float* x, int64_t D, int64_t P, float* out) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V low[R], high[R], a, b;
    load(a, start);
    load(b, start + W);
    for (int r = 0; r < R; r++) low[r] = a, high[r] = b;
    for (int64_t d = 0; d < D; d++) {
        load(a, panel + 2 * W * d);
        load(b, panel + 2 * W * d + W);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            low[r] -= a * x[r * D + d];
            high[r] -= b * x[r * D + d];
        }
    }
    for (int r = 0; r < R; r++) {
        store(out + r * P, low[r]);
        store(out + r * P + W, high[r]);
    }
}

template <class V, int R>
INLINE void product(const float* panels, const float* start, const float* x, int64_t rows, int64_t D,
                    int64_t P, float* out) {
    constexpr int64_t panel = 2 * sizeof(V) / sizeof(float);
    for (int64_t k = 0; k < P; k += panel)  // a panel stays in the first-level cache, the rows in the next
        for (int64_t n = 0; n < rows; n += R)
            block<V, R>(panels + k * D, start + k, x + n * D, D, P, out + n * P + k);
}

// The best two of all lanes, four at a time: a branch for each lane would be a guess each.
template <class V, class I> INLINE Best best_lane(const V& first, const V& second, const I& at) {
    constexpr int32_t W = sizeof(V) / sizeof(float);
    Float4 f, s, one, two;
    Int4 a, here;
    __builtin_memcpy(&f, &first, sizeof f);
    __builtin_memcpy(&s, &second, sizeof s);
    __builtin_memcpy(&a, &at, sizeof a);
    for (int32_t i = 4; i < W; i += 4) {
        __builtin_memcpy(&one, reinterpret_cast<const float*>(&first) + i, sizeof one);
        __builtin_memcpy(&two, reinterpret_cast<const float*>(&second) + i, sizeof two);
        __builtin_memcpy(&here, reinterpret_cast<const int32_t*>(&at) + i, sizeof here);
        const Int4 less = one < f;
        const Float4 loser = less ? f : one;
        s = two < s ? two : s;
        s = loser < s ? loser : s;
        f = less ? one : f;
        a = less ? here : a;
    }
    Best best = {f[0], s[0], a[0]};
    for (int i = 1; i < 4; i++) {
        const bool less = f[i] < best.first;
        const float loser = less ? best.first : f[i], next = s[i] < best.second ? s[i] : best.second;
        best = {less ? f[i] : best.first, loser < next ? loser : next, less ? a[i] : best.at};
    }
    return best;
}

// Runs along the scores with a best and a second best for each lane.
template <class V, class I, bool STEP> INLINE Best run(float* scores, const float* row, int64_t P) {
    constexpr int32_t W = sizeof(V) / sizeof(float);
    constexpr float FAR = std::numeric_limits<float>::infinity();
    V first = FAR - V{}, second = first, s, g;
    I at = {}, here = {};
    for (int32_t i = 0; i < W; i++) here[i] = i;
    for (int64_t k = 0; k < P; k += W, here += W) {
        load(s, scores + k);
        if (STEP) {
            load(g, row + k);
            s -= g;
            store(scores + k, s);
        }
        const I less = s < first;
        const V loser = less ? first : s;
        second = loser < second ? loser : second;
        first = less ? s : first;
        at = less ? here : at;
    }
    return best_lane<V, I>(first, second, at);
}

// One set of functions, compiled for TARGET.
#define SCORES(NAME, V, I, R, TARGET)                                                                   \
    struct NAME {                                                                                       \
        TARGET static void product_(const float* panels, const float* start, const float* x,            \
                                    int64_t rows, int64_t D, int64_t P, float* out) {                   \
            product<V, R>(panels, start, x, rows, D, P, out);                                           \
        }                                                                                               \
        TARGET static Best best_(const float* scores, int64_t P) {                                      \
            return run<V, I, false>(const_cast<float*>(scores), nullptr, P);                            \
        }                                                                                               \
        TARGET static Best step_(float* scores, const float* row, int64_t P) {                          \
            return run<V, I, true>(scores, row, P);                                                     \
        }                                                                                               \
        static constexpr Scores all = {R, 2 * sizeof(V) / sizeof(float), product_, best_, step_};       \
    };

SCORES(Plain, Float4, Int4, 4, )
#if defined(__x86_64__)
SCORES(Avx2, Float8, Int8, 6, __attribute__((target("avx2,fma"))))
SCORES(Avx512, Float16, Int16, 12, __attribute__((target("avx512f"))))
#endif

}  // namespace

const Scores& fastest_scores() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return Avx512::all;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2::all;
#endif
    return Plain::all;
}

}  // namespace speechvq
