// The nearest code of each row without writing the scores: the search that generic.cpp, avx2.cpp and
// avx512.cpp compile, each for its own instruction set. Includers define, in this same nameless namespace,
//   LANES, CODES            floats in a register; codes whose scores are summed at the same time (even)
//   Floats, Ints            a register of LANES floats, of LANES int32 (vector types of GCC and Clang)
//   multiply_add(a, b, c)   a * b + c
//
// A lane belongs to a row. A step takes CODES codes x SIDE * LANES rows, holds all of their scores in
// registers while it adds up the dimensions, then lowers each row's running minimum. So the minimum of a row
// is never spread over lanes, and codes that are equal have scores that are equal in every bit, because every
// code is summed in the same order; of those the first wins.
//
// Letters: K codes, D dimensions, R registers of rows; m the middle of the codes; h = |c - m|^2 / 2.
// Score of a code: h + (m - x).(c - m), which is |x - c|^2 / 2 up to something of the row alone.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace speechvq {
namespace {

constexpr int SIDE = 2;                   // registers of rows in a step
constexpr int PANEL = SIDE * LANES;       // rows in a step
constexpr int64_t SPAN = 1024;            // dimensions that a step adds up at once, at most
constexpr int64_t TILE = 64 * 1024;       // floats of turned rows, at most
constexpr int64_t MOST_ROWS = 16 * PANEL; // rows turned at a time, at most
constexpr int64_t NEAR = 256 * 1024;      // bytes of codes that stay in the second cache while rows pass
constexpr int64_t MOST_GROUPS = 32;       // groups whose scores wait in memory, when D is more than a span

static_assert(SPAN * PANEL <= TILE, "a panel must fit");

// A codebook, in groups of CODES codes. A group is D + 2 lines of CODES: the index of each code (int32), the
// half norms h, then c - m, a dimension a line. The rest of the last group is the last code, infinitely far.
struct Book {
    int64_t K, D, groups;
    float* middle;
    float* lines;
};

// What a call keeps, on its stack (about 320 KiB): turned rows, their best so far, scores between two spans.
struct Desk {
    alignas(64) float turned[TILE];  // panel after panel; in each, a line of PANEL rows for every dimension
    alignas(64) float scores[MOST_GROUPS * CODES * PANEL];
    alignas(64) float best[MOST_ROWS];
    alignas(64) int32_t nearest[MOST_ROWS];
};

// Dimensions that a step adds up, and whether they are the first, the last of all.
struct Part {
    int64_t from, dims;
    bool first, last;
};

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t group_floats(const Book& book) { return (book.D + 2) * CODES; }

void pack_group(const Book& book, const float* codes, int64_t g) {
    float* line = book.lines + g * group_floats(book);
    const float* code[CODES];
    double norm[CODES];
    for (int c = 0; c < CODES; ++c) {
        const int32_t index = static_cast<int32_t>(least(g * CODES + c, book.K - 1));
        std::memcpy(line + c, &index, sizeof index);
        code[c] = codes + index * book.D;
        norm[c] = g * CODES + c < book.K ? 0 : __builtin_inf();
    }
    for (int64_t d = 0; d < book.D; ++d)
        for (int c = 0; c < CODES; ++c) {
            const float value = code[c][d] - book.middle[d];
            line[(2 + d) * CODES + c] = value;
            norm[c] += 0.5 * value * value;
        }
    for (int c = 0; c < CODES; ++c) line[CODES + c] = static_cast<float>(norm[c]);
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
    book->middle = static_cast<float*>(std::malloc(static_cast<size_t>(D) * sizeof(float)));
    book->lines = static_cast<float*>(
        std::malloc(static_cast<size_t>(book->groups * group_floats(*book)) * sizeof(float)));
    if (book->middle == nullptr || book->lines == nullptr) {
        release(reinterpret_cast<Packed*>(book));
        return nullptr;
    }
    std::memcpy(book->middle, middle, static_cast<size_t>(D) * sizeof(float));
    for (int64_t g = 0; g < book->groups; ++g) pack_group(*book, codes, g);
    return reinterpret_cast<Packed*>(book);
}

inline Floats load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
inline void store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }
inline Floats all(float v) { return v - Floats{}; }  // costs nothing, since v - 0 is always v

// m - x of four rows and four dimensions, turned so that the rows lie side by side.
inline void turn_four(const float* const row[4], const float* middle, float* to) {
#if defined(__SSE2__)
    const __m128 m = _mm_loadu_ps(middle);
    __m128 a = _mm_sub_ps(m, _mm_loadu_ps(row[0])), b = _mm_sub_ps(m, _mm_loadu_ps(row[1]));
    __m128 c = _mm_sub_ps(m, _mm_loadu_ps(row[2])), d = _mm_sub_ps(m, _mm_loadu_ps(row[3]));
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_store_ps(to, a), _mm_store_ps(to + PANEL, b);
    _mm_store_ps(to + 2 * PANEL, c), _mm_store_ps(to + 3 * PANEL, d);
#else
    for (int d = 0; d < 4; ++d)
        for (int r = 0; r < 4; ++r) to[d * PANEL + r] = middle[d] - row[r][d];
#endif
}

// A panel of rows, of which `rows` (or all) are real: the last one stands in for those that are missing. It
// takes a cache line of every row before the next line of any, so that nothing is fetched twice.
void turn_panel(const Book& book, const Part& part, const float* x, int64_t stride, int64_t rows, float* to) {
    const float* middle = book.middle + part.from;
    for (int64_t begin = 0; begin < part.dims; begin += 16) {
        const int64_t end = least(begin + 16, part.dims);
        for (int64_t r = 0; r < PANEL; r += 4) {
            const float* row[4];
            for (int i = 0; i < 4; ++i) row[i] = x + least(r + i, rows - 1) * stride + part.from;
            int64_t d = begin;
            for (; d + 4 <= end; d += 4) {
                const float* here[4] = {row[0] + d, row[1] + d, row[2] + d, row[3] + d};
                turn_four(here, middle + d, to + d * PANEL + r);
            }
            for (; d < end; ++d)
                for (int i = 0; i < 4; ++i) to[d * PANEL + r + i] = middle[d] - row[i][d];
        }
    }
}

struct Lowest {
    Floats score;
    Ints index;
    // A score that is not a number is never lower.
    __attribute__((always_inline)) inline void meet(Floats other, Ints other_index) {
        const Ints lower = other < score;
        score = lower ? other : score;
        index = lower ? other_index : index;
    }
};

// A group's scores lower the running minimum of one register of rows. Two chains of comparisons, one for the
// first half of the codes and one for the second, since each comparison waits for the one before it.
template <int R>
__attribute__((always_inline)) inline void settle(const Floats (&sum)[CODES][R], int r, const float* group,
                                                  float* best, int32_t* nearest) {
    constexpr int HALF = CODES / 2;
    Lowest low{load(best), *reinterpret_cast<const Ints*>(nearest)}, late{all(__builtin_inff()), Ints{}};
#pragma GCC unroll 16
    for (int c = 0; c < HALF; ++c) {
        int32_t index[2];
        std::memcpy(&index[0], group + c, sizeof(int32_t));
        std::memcpy(&index[1], group + HALF + c, sizeof(int32_t));
        low.meet(sum[c][r], Ints{} + index[0]);
        late.meet(sum[HALF + c][r], Ints{} + index[1]);
    }
    low.meet(late.score, late.index);
    store(best, low.score);
    *reinterpret_cast<Ints*>(nearest) = low.index;
}

// One group of codes against R registers of rows. The pragmas are what keeps `sum` in registers.
template <int R>
__attribute__((always_inline)) inline void step(const float* group, const float* turned, const Part& part,
                                                float* scores, float* best, int32_t* nearest) {
    Floats sum[CODES][R];
#pragma GCC unroll 16
    for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
            sum[c][r] = part.first ? all(group[CODES + c]) : load(scores + (c * R + r) * LANES);
    const float* code = group + (2 + part.from) * CODES;
    for (int64_t d = 0; d < part.dims; ++d, code += CODES, turned += PANEL) {
        Floats x[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) x[r] = load(turned + r * LANES);
#pragma GCC unroll 16
        for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sum[c][r] = multiply_add(x[r], all(code[c]), sum[c][r]);
    }
    if (part.last) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) settle<R>(sum, r, group, best + r * LANES, nearest + r * LANES);
        return;
    }
#pragma GCC unroll 16
    for (int c = 0; c < CODES; ++c)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) store(scores + (c * R + r) * LANES, sum[c][r]);
}

// Groups `begin` to `end` against the rows of a panel.
template <int R>
void sweep(const Book& book, const Part& part, int64_t begin, int64_t end, const float* turned, float* scores,
           float* best, int32_t* nearest) {
    for (int64_t g = begin; g < end; ++g, scores += CODES * PANEL)
        step<R>(book.lines + g * group_floats(book), turned, part, scores, best, nearest);
}

// Some rows against all codes: codes in blocks that stay in the cache while panels of rows pass. When D is
// more than a span there is one panel, turned a span at a time, and its scores wait on the desk.
void find_some(const Book& book, Desk& desk, const float* x, int64_t stride, int64_t rows) {
    const int64_t spans = (book.D + SPAN - 1) / SPAN;
    const int64_t bytes = group_floats(book) * static_cast<int64_t>(sizeof(float));
    const int64_t block = spans > 1 ? MOST_GROUPS : (NEAR + bytes - 1) / bytes;
    for (int64_t g = 0; g < book.groups; g += block)
        for (int64_t s = 0; s < spans; ++s) {
            const int64_t from = book.D * s / spans, dims = book.D * (s + 1) / spans - from;
            const Part part{from, dims, s == 0, s + 1 == spans};
            for (int64_t r = 0; r < rows; r += PANEL) {
                float* turned = desk.turned + r * dims;
                if (g == 0 || spans > 1) turn_panel(book, part, x + r * stride, stride, rows - r, turned);
                const auto run = rows - r > LANES ? sweep<SIDE> : sweep<1>;
                run(book, part, g, least(g + block, book.groups), turned, desk.scores, desk.best + r,
                    desk.nearest + r);
            }
        }
}

void find(const Packed* packed, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    const Book& book = *reinterpret_cast<const Book*>(packed);
    Desk desk;
    const int64_t most = book.D < SPAN ? least(TILE / book.D / PANEL * PANEL, MOST_ROWS) : PANEL;
    for (int64_t n = 0; n < rows; n += most) {
        const int64_t some = least(rows - n, most);
        for (int64_t r = 0; r < most; ++r) desk.best[r] = __builtin_inff(), desk.nearest[r] = 0;
        find_some(book, desk, x + n * stride, stride, some);
        for (int64_t r = 0; r < some; ++r) indices[n + r] = desk.nearest[r];
    }
}

}  // namespace
}  // namespace speechvq
