// The products: 32 codes x 32 rows of scores at a time in four tiles, of which only minima are kept.
//
// A row of a tile of scores is a code and a column is a row of x, so that the least score of 16 codes for each
// of 16 rows is the elementwise minimum of 16 registers. Tiles are stored to a few KiB that never leave the first cache, and the ones
// before are reduced while the next are multiplied. Codes go by in panels that stay in the first cache while all
// rows of a call pass, rows wait in the second.
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

// The tiles of this thread, as long as this lives.
struct Tiles {
    AMX Tiles() {
        const TileShapes shapes;
        _tile_loadconfig(&shapes);
    }
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

// The scores of two blocks x two groups, and where their minima go.
struct Pending {
    float* scores;   // block 0 group 0, block 0 group 1, block 1 group 0, block 1 group 1
    float* minima;   // of block 0 and group 0
    int64_t apart;   // floats from group to group
};

AMX inline void reduce(const Pending& done) {
    _mm512_store_ps(done.minima, least(done.scores));
    _mm512_store_ps(done.minima + done.apart, least(done.scores + 256));
    _mm512_store_ps(done.minima + LANES, least(done.scores + 512));
    _mm512_store_ps(done.minima + done.apart + LANES, least(done.scores + 768));
}

template <bool LIFTED>
AMX inline void multiply(const Level& level, int64_t block, const uint16_t* group, float* scores) {
    const uint16_t* codes = level.parts + block * LANES * level.width;
    const uint16_t* other_codes = codes + LANES * level.width;
    const uint16_t* other_group = group + LANES * level.width;
    const int64_t line = level.width * sizeof(uint16_t);
    if (LIFTED) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        const float* start = level.start + block * 256;
        _tile_loadd(0, start, 64);
        _tile_loadd(1, start, 64);
        _tile_loadd(2, start + 256, 64);
        _tile_loadd(3, start + 256, 64);
    }
    for (int64_t step = 0; step < level.steps; step++) {
        _tile_loadd(4, codes + step * STEP, line);
        _tile_loadd(6, group + step * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, other_group + step * TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, other_codes + step * STEP, line);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, scores, 64);
    _tile_stored(1, scores + 256, 64);
    _tile_stored(2, scores + 512, 64);
    _tile_stored(3, scores + 768, 64);
}

// The least scores of blocks [first, last) for an even number of groups into minima (groups, last - first, 16).
template <bool LIFTED>
AMX void sweep(const Level& level, int64_t first, int64_t last, const uint16_t* tiles, int64_t groups,
               float* minima) {
    alignas(64) float desk[2][1024];
    const int64_t block_bytes = LANES * (level.width * 2 + (LIFTED ? 0 : 64));
    const int64_t panel = PANEL_BYTES / block_bytes > 2 ? PANEL_BYTES / block_bytes / 2 * 2 : 2;
    Pending before = {nullptr, nullptr, (last - first) * LANES};
    bool side = false;
    __asm__ volatile("" ::: "memory");  // what was written before is what the tiles load
    for (int64_t from = first; from < last; from += panel) {
        const int64_t to = from + panel < last ? from + panel : last;
        for (int64_t g = 0; g < groups; g += 2) {
            for (int64_t b = from; b < to; b += 2, side = !side) {
                multiply<LIFTED>(level, b, tiles + g * LANES * level.width, desk[side]);
                if (before.scores) reduce(before);
                before.scores = desk[side];
                before.minima = minima + (g * (last - first) + b - first) * LANES;
            }
        }
    }
    if (before.scores) reduce(before);
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
