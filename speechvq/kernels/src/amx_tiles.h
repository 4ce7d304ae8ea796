// The products: 32 codes x 32 rows of scores at a time in four tiles, of which only minima are kept.
//
// A row of a tile of scores is a code and a column is a row of x, so that the least score of 16 codes for each of
// 16 rows is the elementwise minimum of 16 registers. Tiles of scores go to a few KiB that never leave the first
// cache, and those before are reduced while the next are multiplied. Codes go by in panels that stay in the first
// cache while all rows of a chunk pass; the rows wait in the second.
//
// Legend: a group is 16 rows; its tiles are (steps, 16 pairs of places, 16 rows, 2), as the instruction asks.
#pragma once

namespace speechvq {
namespace {

constexpr int64_t PANEL_BYTES = 20 * 1024;  // of codes, in a first cache of 48 KiB

struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// In memory for good: the compiler does not know that the instruction reads all of it.
constexpr TileShapes SHAPES;

// The tiles of this thread, as long as this lives.
struct Tiles {
    AMX Tiles() { _tile_loadconfig(&SHAPES); }
    AMX ~Tiles() { _tile_release(); }
};

// 16 rows of `width` bfloat16 into the tiles of a group: pairs of places, turned.
AMX inline void turn(const uint16_t* rows, int64_t width, uint16_t* tiles) {
    for (int64_t step = 0; step < width / STEP; step++) {
        __m512i a[16], b[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows + i * width + step * STEP);
#pragma GCC unroll 8
        for (int i = 0; i < 16; i += 2) {
            b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 16; i += 4) {
            a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
            a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
            a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
            a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
            b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
            b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
            b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
        }
        uint16_t* out = tiles + step * TILE;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            _mm512_store_si512(out + (i)*STEP, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
            _mm512_store_si512(out + (i + 4) * STEP, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0x88));
            _mm512_store_si512(out + (i + 8) * STEP, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
            _mm512_store_si512(out + (i + 12) * STEP, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0xdd));
        }
    }
}

AMX inline __m512 least(const float* scores) {
    __m512 low[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) low[i] = _mm512_load_ps(scores + i * LANES);
#pragma GCC unroll 12
    for (int i = 4; i < 16; i++) low[i % 4] = _mm512_min_ps(low[i % 4], _mm512_load_ps(scores + i * LANES));
    return _mm512_min_ps(_mm512_min_ps(low[0], low[1]), _mm512_min_ps(low[2], low[3]));
}

// Two blocks x two groups under way: where what comes of them goes.
struct Square {
    const float* limits;  // of block 0: p, rounding
    const float* reach;   // of group 0
    float* bound;         // of group 0: lowered to score + e
    float* minima;        // of block 0 and group 0: becomes score - e
    int64_t apart;        // floats from group to group
};

// Reduces one tile: `quarter` is 2 * block + group.
AMX inline void reduce(const Square& square, const float* scores, int quarter) {
    const int block = quarter / 2, group = quarter % 2;
    const __m512 low = least(scores + quarter * 256);
    const __m512 error = _mm512_fmadd_ps(_mm512_load_ps(square.reach + group * LANES),
                                         _mm512_set1_ps(square.limits[2 * block]),
                                         _mm512_set1_ps(square.limits[2 * block + 1]));
    float* bound = square.bound + group * LANES;
    _mm512_store_ps(bound, _mm512_min_ps(_mm512_add_ps(low, error), _mm512_load_ps(bound)));
    _mm512_store_ps(square.minima + group * square.apart + block * LANES, _mm512_sub_ps(low, error));
}

// Stores a finished tile and starts it anew, then reduces the one stored a square before.
#define TURN_OVER(tile, start)                           \
    _tile_stored(tile, done + tile * 256, 64);           \
    if (LIFTED) {                                        \
        _tile_zero(tile);                                \
    } else {                                             \
        _tile_loadd(tile, (start) + tile / 2 * 256, 64); \
    }

// Multiplies one square into tiles 0 to 3. The scores before it go from the tiles to `done`; the ones before
// those, `older`, are reduced into `square`, all between the products, which take longer.
template <bool LIFTED>
AMX inline void multiply(const Level& level, int64_t block, const uint16_t* group, float* done,
                         const Square& square, const float* older) {
    const int64_t apart = LANES * level.width, line = level.width * sizeof(uint16_t);
    const uint16_t* codes = level.parts + block * apart;
    const float* start = LIFTED ? nullptr : level.start + block * 256;
    _tile_loadd(4, codes, line);
    _tile_loadd(6, group, 64);
    TURN_OVER(0, start)
    _tile_dpbf16ps(0, 4, 6);
    reduce(square, older, 0);
    _tile_loadd(7, group + apart, 64);
    TURN_OVER(1, start)
    _tile_dpbf16ps(1, 4, 7);
    reduce(square, older, 1);
    _tile_loadd(5, codes + apart, line);
    TURN_OVER(2, start)
    _tile_dpbf16ps(2, 5, 6);
    reduce(square, older, 2);
    TURN_OVER(3, start)
    _tile_dpbf16ps(3, 5, 7);
    reduce(square, older, 3);
    for (int64_t step = 1; step < level.steps; step++) {
        _tile_loadd(4, codes + step * STEP, line);
        _tile_loadd(6, group + step * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, group + apart + step * TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, codes + apart + step * STEP, line);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}
#undef TURN_OVER

// What a sweep reads and writes for the groups of a chunk.
struct Groups {
    int64_t count;          // even
    const uint16_t* tiles;  // (count, steps, 16, 32)
    const float* reach;     // (count, 16)
    float* bound;           // (count, 16)
    float* minima;          // (count, blocks of the span, 16): the least score - e
};

// Blocks [first, last) against all groups.
template <bool LIFTED>
AMX void sweep(const Level& level, int64_t first, int64_t last, const Groups& groups) {
    alignas(64) float desk[2][1024] = {}, scrap[6 * LANES] = {};
    const int64_t apart = (last - first) * LANES, block_bytes = LANES * (level.width * 2 + (LIFTED ? 0 : 64));
    const int64_t panel = PANEL_BYTES / block_bytes > 2 ? PANEL_BYTES / block_bytes / 2 * 2 : 2;
    Square before = {scrap, scrap, scrap, scrap + 2 * LANES, 2 * LANES}, older = before;
    int side = 0;
    __asm__ volatile("" ::: "memory");  // what was written before is what the tiles load
    for (int64_t from = first; from < last; from += panel) {
        const int64_t to = from + panel < last ? from + panel : last;
        for (int64_t g = 0; g < groups.count; g += 2) {
            for (int64_t b = from; b < to; b += 2, side ^= 1) {
                const uint16_t* group = groups.tiles + g * LANES * level.width;
                multiply<LIFTED>(level, b, group, desk[side], older, desk[side ^ 1]);
                older = before;
                before = {level.reach + 2 * b, groups.reach + g * LANES, groups.bound + g * LANES,
                          groups.minima + g * apart + (b - first) * LANES, apart};
            }
        }
    }
    _tile_stored(0, desk[side], 64);
    _tile_stored(1, desk[side] + 256, 64);
    _tile_stored(2, desk[side] + 512, 64);
    _tile_stored(3, desk[side] + 768, 64);
    for (int quarter = 0; quarter < 4; quarter++) reduce(older, desk[side ^ 1], quarter);
    for (int quarter = 0; quarter < 4; quarter++) reduce(before, desk[side], quarter);
}

// The scores of one block for one group, (16 codes, 16 rows).
AMX inline void multiply_one(const Level& level, int64_t block, const uint16_t* group, float* scores) {
    const uint16_t* codes = level.parts + block * LANES * level.width;
    if (level.lifted) {
        _tile_zero(0);
    } else {
        _tile_loadd(0, level.start + block * 256, 64);
    }
    for (int64_t step = 0; step < level.steps; step++) {
        _tile_loadd(4, codes + step * STEP, level.width * 2);
        _tile_loadd(6, group + step * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, scores, 64);
}

}  // namespace
}  // namespace speechvq
