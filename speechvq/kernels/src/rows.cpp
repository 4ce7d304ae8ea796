// See rows.h. Vectors are GCC's and clang's vector extension, so that one text serves every width and
// the order of additions is ours, not the optimiser's.
//
// Legend: D channels, V a vector of floats, W how many it has.
#include "rows.h"

#define INLINE inline __attribute__((always_inline))

namespace speechvq {
namespace {

typedef float Float4 __attribute__((vector_size(16)));
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float16 __attribute__((vector_size(64)));

// Vectors go by reference: passing them by value would depend on the target of the function.
template <class V> INLINE void load(V& v, const float* from) { __builtin_memcpy(&v, from, sizeof v); }
template <class V> INLINE void store(float* to, const V& v) { __builtin_memcpy(to, &v, sizeof v); }
template <class V> INLINE float total_of(const V& v) {
    V half = v;
    for (int w = sizeof v / sizeof(float) / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) half[i] += half[i + w];
    return half[0];
}

template <class V> INLINE bool finite(const float* x, int64_t D) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V zeros = {}, v;
    float zero = 0;
    int64_t d = 0;
    for (; d + W <= D; d += W) {
        load(v, x + d);
        zeros += v * 0.0f;  // infinity and NaN times zero are NaN
    }
    for (; d < D; d++) zero += x[d] * 0.0f;
    return total_of(zeros) + zero == 0;
}

template <class V> INLINE float moments(const float* x, const float* anchor, double* sums, int64_t D) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V squares = {}, v, a;
    float square = 0;
    int64_t d = 0;
    for (; d + W <= D; d += W) {
        load(v, x + d);
        load(a, anchor + d);
        v -= a;
        squares += v * v;
    }
    for (; d < D; d++) square += (x[d] - anchor[d]) * (x[d] - anchor[d]);
    // A plain loop, which compilers turn into vectors of doubles better than they convert vectors.
    for (d = 0; d < D; d++) sums[d] += double(x[d] - anchor[d]);
    return total_of(squares) + square;
}

template <class V> INLINE void subtract(const float* from, const float* code, float* left, int64_t D) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V v, c;
    int64_t d = 0;
    for (; d + W <= D; d += W) {
        load(v, from + d);
        load(c, code + d);
        v -= c;
        store(left + d, v);
    }
    for (; d < D; d++) left[d] = from[d] - code[d];
}

template <class V> INLINE void add(const float* x, float* sums, int64_t D) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V v, s;
    int64_t d = 0;
    for (; d + W <= D; d += W) {
        load(v, x + d);
        load(s, sums + d);
        s += v;
        store(sums + d, s);
    }
    for (; d < D; d++) sums[d] += x[d];
}

template <class V, bool FIRST, bool SUMS>
INLINE float step_as(const float* from, const float* code, float* left, float* total, float* pull,
                     float* sums, int64_t D) {
    constexpr int64_t W = sizeof(V) / sizeof(float);
    V squares = {}, before, after, c, t, p, s;
    float square = 0;
    int64_t d = 0;
    for (; d + W <= D; d += W) {
        load(before, from + d);
        load(c, code + d);
        after = before - c;
        squares += after * after;
        store(left + d, after);
        if (FIRST) t = V{}, p = V{};
        else load(t, total + d), load(p, pull + d);
        t += c;
        p += after;
        store(total + d, t);
        store(pull + d, p);
        if (SUMS) {
            load(s, sums + d);
            s += before;
            store(sums + d, s);
        }
    }
    for (; d < D; d++) {
        const float was = from[d], is = was - code[d];
        square += is * is;
        left[d] = is;
        total[d] = (FIRST ? 0 : total[d]) + code[d];
        pull[d] = (FIRST ? 0 : pull[d]) + is;
        if (SUMS) sums[d] += was;
    }
    return total_of(squares) + square;
}

template <class V, bool FIRST>
INLINE float step(const float* from, const float* code, float* left, float* total, float* pull,
                  float* sums, int64_t D) {
    return sums ? step_as<V, FIRST, true>(from, code, left, total, pull, sums, D)
                : step_as<V, FIRST, false>(from, code, left, total, pull, sums, D);
}

// One set of functions, compiled for TARGET.
#define ROWS(NAME, V, TARGET)                                                                         \
    struct NAME {                                                                                     \
        TARGET static bool finite_(const float* x, int64_t D) { return finite<V>(x, D); }             \
        TARGET static float moments_(const float* x, const float* anchor, double* sums, int64_t D) {  \
            return moments<V>(x, anchor, sums, D);                                                    \
        }                                                                                             \
        TARGET static void subtract_(const float* from, const float* code, float* left, int64_t D) {  \
            subtract<V>(from, code, left, D);                                                         \
        }                                                                                             \
        template <bool FIRST>                                                                         \
        TARGET static float step_(const float* from, const float* code, float* left, float* total,    \
                                  float* pull, float* sums, int64_t D) {                              \
            return step<V, FIRST>(from, code, left, total, pull, sums, D);                            \
        }                                                                                             \
        TARGET static void add_(const float* x, float* sums, int64_t D) { add<V>(x, sums, D); }       \
        static constexpr Rows rows = {finite_, moments_, subtract_, step_<true>, step_<false>, add_}; \
    };

ROWS(Plain, Float4, )
#if defined(__x86_64__)
ROWS(Avx2, Float8, __attribute__((target("avx2,fma"))))
ROWS(Avx512, Float16, __attribute__((target("avx512f"))))
#endif

}  // namespace

const Rows& fastest_rows() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return Avx512::rows;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2::rows;
#endif
    return Plain::rows;
}

}  // namespace speechvq
