// From minima to the nearest code: which codes can still be nearest, and which of them is.
//
// Legend: a chunk is up to 1024 rows; a span, up to 1024 codes; e, what a score may be off, is the reach of the
// row times that of the block plus the rounding of the block (amx_level.h); bound = the least score + e so far,
// which the true least score cannot exceed.
#pragma once

namespace speechvq {
namespace {

constexpr int64_t CHUNK = 1024, SPAN = 64;        // rows, blocks
constexpr int64_t NEAR_BYTES = 512 * 1024;        // of rows of a chunk, of codes of a span: both stay in 2 MiB
constexpr int64_t MOST = 16;                      // candidates a row may have before it is searched again

struct Book {
    const float* codes;  // the caller's: they stay until the book is released
    float* middle;
    int64_t K, D;
    Level* coarse;
    std::atomic<Level*> fine;               // three products; made when it pays
    mutable std::atomic<int64_t> scanned;  // rows that the coarse level could not tell so far
    std::mutex making;
};

struct Candidate {
    int32_t row, code;
    float least;  // score - e
};

// A block that holds a candidate for some rows (bits) of a group.
struct Hit {
    int32_t block;
    uint32_t rows;
};

// What one thread needs for a chunk. Kept between calls: fresh pages would cost more than the search.
struct Desk {
    char* memory = nullptr;
    int64_t bytes = 0, used = 0;
    uint16_t *tiles, *parts;
    float *minima, *reach, *bound;
    double* distance;
    int32_t* counts;
    Hit* hits;
    Candidate* candidates;

    ~Desk() { std::free(memory); }

    template <typename T>
    void take(T*& part, int64_t count) {
        part = reinterpret_cast<T*>(memory + used);
        used += round_up(count * int64_t(sizeof(T)), 64);
    }
    void lay(const Level& level, int64_t rows, int64_t span) {
        used = 0;
        take(tiles, rows * level.width), take(parts, LANES * level.width), take(minima, rows * span);
        take(reach, rows), take(bound, rows), take(distance, rows), take(counts, rows), take(hits, span);
        take(candidates, rows * MOST);
    }
    bool make_room(const Level& level, int64_t rows, int64_t span) {
        lay(level, rows, span);
        if (used > bytes) {
            std::free(memory);
            memory = lines_of<char>(used);
            bytes = memory ? used : 0;
            lay(level, rows, span);
        }
        return memory;
    }
};

inline int64_t chunk_rows(const Level& level) {
    const int64_t fit = NEAR_BYTES / (level.width * 2) / 32 * 32;
    return fit < 32 ? 32 : fit > CHUNK ? CHUNK : fit;
}

inline int64_t span_blocks(const Level& level) {
    const int64_t fit = NEAR_BYTES / (LANES * (level.width * 2 + 64)) / 2 * 2;
    const int64_t most = fit < 2 ? 2 : fit > SPAN ? SPAN : fit;
    return most < level.blocks ? most : level.blocks;
}

// Some of the rows of a call.
struct Rows {
    const float* x;
    int64_t stride;
    const int32_t* ids;
    int64_t count;
    const float* at(int64_t row) const { return x + ids[row] * stride; }
};

// Row `row` as parts, and how far its scores may be off. A row that is missing, not finite, or whose squares
// would not be, is searched as zero with a bound below everything, so that it never has a candidate.
AMX inline void place_row(const Level& level, const float* middle, const Rows& rows, int64_t row, Desk& desk) {
    uint16_t* parts = desk.parts + row % LANES * level.width;
    Squares squares = {INFINITY, 0, 0};
    if (row < rows.count) squares = divide<true>(level, middle, rows.at(row), parts);
    const float whole = norm(level, squares.whole), rest = norm(level, squares.rest);
    if (!(whole + level.largest < 1e18f)) {
        std::memset(parts, 0, level.width * sizeof *parts);
        desk.reach[row] = 0, desk.bound[row] = -INFINITY;
        return;
    }
    for (int i = 0; level.lifted && i < 3; i++) parts[level.splits * level.D + i] = 0x3f80;  // 1
    const float reach = rest + (whole + rest) * level.rest + norm(level, squares.low) * level.low;
    desk.reach[row] = (reach + level.grain * whole) * (1 + level.grain);
    desk.bound[row] = NEVER / 2;
}

AMX inline void place_rows(const Level& level, const float* middle, const Rows& rows, int64_t groups,
                           Desk& desk) {
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t i = 0; i < LANES; i++) place_row(level, middle, rows, g * LANES + i, desk);
        turn(desk.parts, level.width, desk.tiles + g * LANES * level.width);
    }
}

// Notes the codes of one block, by its scores, that may be nearest to the rows of one group.
AMX inline int64_t note(const Level& level, const Hit& hit, int64_t group, const float* scores, Desk& desk,
                        int64_t noted) {
    alignas(64) float lows[LANES];
    const __m512i column =
        _mm512_set_epi32(240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 48, 32, 16, 0);
    for (unsigned lanes = hit.rows; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        const int32_t row = int32_t(group * LANES + lane);
        const float off = desk.reach[row] * level.reach[2 * hit.block] + level.reach[2 * hit.block + 1];
        const __m512 low = _mm512_sub_ps(_mm512_i32gather_ps(column, scores + lane, 4), _mm512_set1_ps(off));
        unsigned near = _mm512_cmp_ps_mask(low, _mm512_set1_ps(desk.bound[row]), _CMP_LE_OQ);
        _mm512_store_ps(lows, low);
        for (; near; near &= near - 1) {
            const int i = __builtin_ctz(near);
            if (desk.counts[row]++ >= MOST) {
                desk.bound[row] = -INFINITY;
                continue;
            }
            desk.candidates[noted++] = {row, level.order[hit.block * LANES + i], lows[i]};
        }
    }
    return noted;
}

// Finds the blocks that hold codes which may be nearest to the rows of a group, and notes these. A block is
// multiplied while the one before it is looked through.
AMX inline int64_t settle(const Level& level, int64_t first, int64_t last, int64_t group, Desk& desk,
                          int64_t noted) {
    alignas(64) float scores[2][256];
    const float* minima = desk.minima + group * (last - first) * LANES;
    const __m512 bound = _mm512_load_ps(desk.bound + group * LANES);
    int64_t hits = 0;
    for (int64_t b = first; b < last; b++) {
        const __m512 low = _mm512_load_ps(minima + (b - first) * LANES);
        const unsigned rows = _mm512_cmp_ps_mask(low, bound, _CMP_LE_OQ);
        desk.hits[hits] = {int32_t(b), rows};
        hits += rows != 0;
    }
    const uint16_t* tiles = desk.tiles + group * LANES * level.width;
    if (hits) multiply_one(level, desk.hits[0].block, tiles, scores[0]);
    for (int64_t i = 0; i < hits; i++) {
        if (i + 1 < hits) multiply_one(level, desk.hits[i + 1].block, tiles, scores[(i + 1) % 2]);
        noted = note(level, desk.hits[i], group, scores[i % 2], desk, noted);
    }
    return noted;
}

// |x - c|^2 in float64: equal codes are equally far, bit by bit.
AMX inline double distance(const float* x, const float* c, int64_t D) {
    __m512d sum = _mm512_setzero_pd(), other = sum;
    for (int64_t d = 0; d < D; d += LANES) {
        const __mmask16 in = d + LANES <= D ? 0xffff : (1 << (D - d)) - 1;
        const __m512 a = _mm512_maskz_loadu_ps(in, x + d), b = _mm512_maskz_loadu_ps(in, c + d);
        const __m512d low = _mm512_sub_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                                          _mm512_cvtps_pd(_mm512_castps512_ps256(b)));
        const __m512d high = _mm512_sub_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)),
                                           _mm512_cvtps_pd(_mm512_extractf32x8_ps(b, 1)));
        sum = _mm512_fmadd_pd(low, low, sum), other = _mm512_fmadd_pd(high, high, other);
    }
    return _mm512_reduce_add_pd(_mm512_add_pd(sum, other));
}

// The nearest of the candidates of each row. Returns how many rows are left over, named in `lost`.
AMX inline int64_t decide(const Book& book, const Rows& rows, Desk& desk, int64_t noted, int64_t* indices,
                          int32_t* lost) {
    int64_t left = 0;
    for (int64_t i = 0; i < rows.count; i++) desk.counts[i] = 0, desk.distance[i] = INFINITY;
    for (int64_t i = 0; i < noted; i++) {
        Candidate& candidate = desk.candidates[i];
        if (!(candidate.least <= desk.bound[candidate.row])) continue;
        desk.candidates[left++] = candidate;
        desk.counts[candidate.row]++;
        indices[rows.ids[candidate.row]] = candidate.code;
    }
    noted = left, left = 0;
    for (int64_t i = 0; i < noted; i++) {
        const Candidate candidate = desk.candidates[i];
        if (desk.counts[candidate.row] == 1) continue;
        const double far = distance(rows.at(candidate.row), book.codes + candidate.code * book.D, book.D);
        double& nearest = desk.distance[candidate.row];
        int64_t& index = indices[rows.ids[candidate.row]];
        if (far < nearest || (far == nearest && candidate.code < index)) nearest = far, index = candidate.code;
    }
    for (int64_t i = 0; i < rows.count; i++)
        if (desk.counts[i] == 0) lost[left++] = rows.ids[i];
    return left;
}

// Searches up to chunk_rows rows on one level. Returns how many rows it cannot tell, named in `lost`.
AMX inline int64_t search(const Book& book, const Level& level, const Rows& rows, int64_t* indices,
                          int32_t* lost) {
    thread_local Desk desk;
    const int64_t groups = round_up(rows.count, 32) / LANES, span = span_blocks(level);
    if (!desk.make_room(level, groups * LANES, span)) {
        std::memcpy(lost, rows.ids, rows.count * sizeof *lost);
        return rows.count;
    }
    place_rows(level, book.middle, rows, groups, desk);
    std::memset(desk.counts, 0, groups * LANES * sizeof *desk.counts);
    const Groups all = {groups, desk.tiles, desk.reach, desk.bound, desk.minima};
    const Tiles tiles;
    int64_t noted = 0;
    for (int64_t first = 0; first < level.blocks; first += span) {
        const int64_t last = first + span < level.blocks ? first + span : level.blocks;
        (level.lifted ? sweep<true> : sweep<false>)(level, first, last, all);
        for (int64_t g = 0; g < groups; g++) noted = settle(level, first, last, g, desk, noted);
    }
    return decide(book, rows, desk, noted, indices, lost);
}

// The nearest code by float64, one after the other; the first for a row that is not finite.
AMX inline int64_t scan(const Book& book, const float* x) {
    int64_t index = 0;
    double nearest = INFINITY;
    if (!book.coarse->finite || !is_finite(x, book.D)) return index;
    for (int64_t k = 0; k < book.K; k++) {
        const double far = distance(x, book.codes + k * book.D, book.D);
        if (far < nearest) nearest = far, index = k;
    }
    return index;
}

}  // namespace
}  // namespace speechvq
