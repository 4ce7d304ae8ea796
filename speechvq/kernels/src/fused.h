// The nearest code of each row without writing a score: the search that generic.cpp, avx2.cpp and avx512.cpp
// compile, each for its own instruction set. Includers define, inside this same namespace,
//   LANES, CODES            floats in a register; codes whose scores are summed at the same time
//   Floats, Ints            a register of LANES floats, of LANES int32 (vector types of GCC and Clang)
//   multiply_add(a, b, c)   a * b + c
//
// A lane belongs to a row. A step takes CODES codes x SIDE * LANES rows, holds all of their scores in registers
// while it adds up the dimensions, then lowers each row's running minimum. So the minimum of a row is never
// spread over lanes, the codes come in their order, and `<` alone gives an exact tie to the lowest index: codes
// that are equal have scores that are equal in every bit, because every code is summed in the same order.
//
// Letters: K codes, D dimensions, N rows; m the middle of the codes; h = |c - m|^2 / 2.
// Score of a code: h + (m - x).(c - m), which is |x - c|^2 / 2 up to a constant of the row.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace speechvq {
namespace {

constexpr int SIDE = 2;                  // registers of rows in a step
constexpr int PANEL = SIDE * LANES;      // rows in a step
constexpr int64_t SPAN = 512;            // dimensions that a step adds up at once: its rows stay near
constexpr int64_t TILE = 16 * 1024;      // floats of turned rows (64 KiB), SPAN * PANEL or more
constexpr int64_t MOST_ROWS = 16 * PANEL;
constexpr int64_t NEAR = 256 * 1024;     // bytes of codes that stay in the second cache while rows pass
constexpr int64_t MOST_GROUPS = 16;      // groups whose scores wait in memory, when D is more than one span

// A codebook. Codes in groups of CODES; a group is D + 2 lines of CODES: the index of each code (int32), the
// half norms h, then c - m, one dimension a line. The last group is filled up with codes that are never nearest.
struct Book {
    int64_t K, D, groups;
    float* middle;
    float* lines;
};

inline const float* group_of(const Book& book, int64_t g) { return book.lines + g * (book.D + 2) * CODES; }

void pack_code(const Book& book, const float* codes, int64_t k) {
    float* place = book.lines + (k / CODES) * (book.D + 2) * CODES + k % CODES;
    const int32_t index = static_cast<int32_t>(k < book.K ? k : 0);
    std::memcpy(place, &index, sizeof index);
    double norm = 0;
    for (int64_t d = 0; d < book.D; ++d) {
        const float value = k < book.K ? codes[k * book.D + d] - book.middle[d] : 0.0f;
        place[(d + 2) * CODES] = value;
        norm += 0.5 * value * value;
    }
    place[CODES] = k < book.K ? static_cast<float>(norm) : __builtin_inff();
}

void release(Packed* packed) {
    Book* book = reinterpret_cast<Book*>(packed);
    if (book == nullptr) return;
    std::free(book->middle);
    std::free(book->lines);
    std::free(book);
}

Packed* pack(const float* codes, int64_t K, int64_t D, const float* middle) {
    Book* book = static_cast<Book*>(std::calloc(1, sizeof(Book)));
    if (book == nullptr) return nullptr;
    book->K = K, book->D = D, book->groups = (K + CODES - 1) / CODES;
    const size_t floats = static_cast<size_t>(book->groups * (D + 2) * CODES);
    book->middle = static_cast<float*>(std::malloc(static_cast<size_t>(D) * sizeof(float)));
    book->lines = static_cast<float*>(std::malloc(floats * sizeof(float)));
    if (book->middle == nullptr || book->lines == nullptr) {
        release(reinterpret_cast<Packed*>(book));
        return nullptr;
    }
    std::memcpy(book->middle, middle, static_cast<size_t>(D) * sizeof(float));
    for (int64_t k = 0; k < book->groups * CODES; ++k) pack_code(*book, codes, k);
    return reinterpret_cast<Packed*>(book);
}

// What a call keeps, on its stack (about 100 KiB): some rows, their best so far, and scores between two spans.
struct Desk {
    alignas(64) float turned[TILE];                               // panel after panel; in each, D lines of PANEL
    alignas(64) float scores[MOST_GROUPS * CODES * PANEL];
    alignas(64) float best[MOST_ROWS];
    alignas(64) int32_t nearest[MOST_ROWS];
};

// Where a step stands in the sum over the dimensions.
struct Part {
    int64_t from, dims;
    bool first, last;
};

inline Floats load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
inline void store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }
inline Floats all(float v) { return v - Floats{}; }  // v - 0 is v: compilers drop the subtraction

// m - x of four rows and four dimensions, turned so that the rows lie side by side.
inline void turn_four(const float* const row[4], const float* middle, float* to) {
#if defined(__SSE2__)
    const __m128 m = _mm_loadu_ps(middle);
    __m128 a = _mm_sub_ps(m, _mm_loadu_ps(row[0])), b = _mm_sub_ps(m, _mm_loadu_ps(row[1]));
    __m128 c = _mm_sub_ps(m, _mm_loadu_ps(row[2])), e = _mm_sub_ps(m, _mm_loadu_ps(row[3]));
    _MM_TRANSPOSE4_PS(a, b, c, e);
    _mm_store_ps(to, a), _mm_store_ps(to + PANEL, b);
    _mm_store_ps(to + 2 * PANEL, c), _mm_store_ps(to + 3 * PANEL, e);
#else
    for (int d = 0; d < 4; ++d)
        for (int r = 0; r < 4; ++r) to[d * PANEL + r] = middle[d] - row[r][d];
#endif
}

// A panel of rows, `rows` of them real (the last one stands in for those that are missing).
void turn_panel(const Book& book, const Part& part, const float* x, int64_t stride, int64_t rows, float* to) {
    const float* middle = book.middle + part.from;
    for (int64_t r = 0; r < PANEL; r += 4) {
        const float* row[4];
        for (int i = 0; i < 4; ++i) row[i] = x + (r + i < rows ? r + i : rows - 1) * stride + part.from;
        int64_t d = 0;
        for (; d + 4 <= part.dims; d += 4) {
            const float* here[4] = {row[0] + d, row[1] + d, row[2] + d, row[3] + d};
            turn_four(here, middle + d, to + d * PANEL + r);
        }
        for (; d < part.dims; ++d)
            for (int i = 0; i < 4; ++i) to[d * PANEL + r + i] = middle[d] - row[i][d];
    }
}

// One group of codes against R registers of rows.
template <int R>
__attribute__((always_inline)) inline void step(const float* group, const float* turned, const Part& part, float* scores, float* best,
                 int32_t* nearest) {
    Floats sum[CODES][R];
#pragma GCC unroll 16
    for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r)
            sum[c][r] = part.first ? all(group[CODES + c]) : load(scores + (c * R + r) * LANES);
    const float* code = group + (2 + part.from) * CODES;
    for (int64_t d = 0; d < part.dims; ++d, code += CODES, turned += PANEL) {
        Floats x[R];
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) x[r] = load(turned + r * LANES);
#pragma GCC unroll 16
        for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) sum[c][r] = multiply_add(x[r], all(code[c]), sum[c][r]);
    }
    if (!part.last) {
#pragma GCC unroll 16
        for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) store(scores + (c * R + r) * LANES, sum[c][r]);
        return;
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
        Floats low = load(best + r * LANES);
        Ints at = *reinterpret_cast<const Ints*>(nearest + r * LANES);
#pragma GCC unroll 16
        for (int c = 0; c < CODES; ++c) {
            int32_t index;
            std::memcpy(&index, group + c, sizeof index);
            const Ints lower = sum[c][r] < low;  // never for a NaN
            low = lower ? sum[c][r] : low;
            at = lower ? Ints{} + index : at;
        }
        store(best + r * LANES, low);
        *reinterpret_cast<Ints*>(nearest + r * LANES) = at;
    }
}

template <int R>
void sweep(const Book& book, const Part& part, int64_t begin, int64_t end, const float* turned, float* scores,
           float* best, int32_t* nearest) {
    for (int64_t g = begin; g < end; ++g)
        step<R>(group_of(book, g), turned, part, scores + (g - begin) * CODES * PANEL, best, nearest);
}

// Up to MOST_ROWS rows against all codes: codes in blocks that stay in the cache while panels of rows pass. When
// D is more than a span there is one panel, turned a span at a time, and its scores wait on the desk.
void find_some(const Book& book, Desk& desk, const float* x, int64_t stride, int64_t rows) {
    const int64_t block_bytes = (book.D + 2) * CODES * static_cast<int64_t>(sizeof(float));
    int64_t block = NEAR / block_bytes > 0 ? NEAR / block_bytes : 1;
    const int64_t spans = (book.D + SPAN - 1) / SPAN;
    if (spans > 1) block = MOST_GROUPS;
    for (int64_t g = 0; g < book.groups; g += block) {
        const int64_t end = g + block < book.groups ? g + block : book.groups;
        for (int64_t s = 0; s < spans; ++s) {
            const int64_t from = book.D * s / spans, to = book.D * (s + 1) / spans;
            const Part part{from, to - from, s == 0, s + 1 == spans};
            for (int64_t r = 0; r < rows; r += PANEL) {
                const int64_t left = rows - r;
                float* turned = desk.turned + r * part.dims;
                if (g == 0 || spans > 1) turn_panel(book, part, x + r * stride, stride, left, turned);
                (left > LANES ? sweep<SIDE> : sweep<1>)(book, part, g, end, turned, desk.scores, desk.best + r,
                                                        desk.nearest + r);
            }
        }
    }
}

void find(const Packed* packed, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    const Book& book = *reinterpret_cast<const Book*>(packed);
    Desk desk;
    const int64_t fit = book.D < SPAN ? TILE / book.D / PANEL * PANEL : PANEL;
    const int64_t most = fit < MOST_ROWS ? fit : MOST_ROWS;
    for (int64_t n = 0; n < rows; n += most) {
        const int64_t some = rows - n < most ? rows - n : most;
        for (int64_t r = 0; r < most; ++r) desk.best[r] = __builtin_inff(), desk.nearest[r] = 0;
        find_some(book, desk, x + n * stride, stride, some);
        for (int64_t r = 0; r < some; ++r) indices[n + r] = desk.nearest[r];
    }
}

}  // namespace
}  // namespace speechvq
