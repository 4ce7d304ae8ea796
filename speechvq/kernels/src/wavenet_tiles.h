// Products of many rows with a packed matrix by matrix tiles (Intel AMX), for wavenet_amx.cpp.
//
// A tile product takes bfloat16, 8 binary digits. So each number goes in two parts, the upper and what it leaves,
// 16 digits together: x w is about x' w' + x" w' + x' w", and what is left out is the 2^-16th part of it. With
// bfloat16 storage the weights have no second part. Bytes are multiplied as they are.
//
// Letters: a step is 32 inputs; a pair is two tiles of 16 outputs.
#pragma once

namespace speechvq {
namespace {

constexpr bool TILES = true;
constexpr int64_t STEP = 32, TILE = 512, SIDE16 = 16;

struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// In memory for good: the compiler does not know that the instruction reads all of it.
constexpr TileShapes SHAPES;

// The tiles of this thread, as long as this lives.
struct Tiles {
    explicit Tiles(bool wanted) : wanted(wanted) {
        if (wanted) _tile_loadconfig(&SHAPES);
    }
    ~Tiles() {
        if (wanted) _tile_release();
    }
    const bool wanted;
};

// With fewer rows the tiles are too empty.
inline bool tiles_pay(int64_t parts, int64_t rows) { return rows >= (parts == 1 ? 2 : 4); }

inline int64_t whole_steps(int64_t inputs) { return (inputs + STEP - 1) / STEP * STEP; }

inline uint16_t rounded_half(float value) {
    uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return uint16_t((word + 0x7fffu + (word >> 16 & 1)) >> 16);
}

inline float from_half(uint16_t half) {
    const uint32_t word = uint32_t(half) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

inline int64_t tile_bytes(int64_t inputs, int64_t outputs, int64_t parts) {
    return whole_steps(inputs) * ((outputs + STEP - 1) / STEP * STEP) * 2 * parts;
}

// Pair after pair of a dense (inputs, outputs), in each, step after step, in each, for each of the two tiles, the
// parts: (16 pairs of inputs, 16 outputs, 2), as the instruction asks. `place` moves on.
void pack_tiles(const float* dense, int64_t inputs, int64_t outputs, int64_t parts, char*& place) {
    uint16_t* to = reinterpret_cast<uint16_t*>(place);
    for (int64_t column = 0; column < outputs; column += STEP)
        for (int64_t k = 0; k < inputs; k += STEP)
            for (int64_t tile = 0; tile < 2; tile++, to += TILE * parts)
                for (int64_t i = 0; i < TILE; i++) {
                    const int64_t input = k + i / STEP * 2 + i % 2, output = column + tile * SIDE16 + i % STEP / 2;
                    const bool inside = input < inputs && output < outputs;
                    const float value = inside ? dense[input * outputs + output] : 0;
                    to[i] = rounded_half(value);
                    if (parts > 1) to[TILE + i] = rounded_half(value - from_half(to[i]));
                }
    place = reinterpret_cast<char*>(to);
}

// Sixteen rows as tiles want them: (2 parts, 16, inputs up to whole steps).
void part_rows(const float* const* in, int64_t count, int64_t inputs, uint16_t* paper) {
    const int64_t width = whole_steps(inputs);
    for (int64_t r = 0; r < count; r++)
        for (int64_t k = 0; k < inputs; k += LANES) {
            const __m512 value = _mm512_loadu_ps(in[r] + k);
            const __m256i upper = (__m256i)_mm512_cvtneps_pbh(value);
            const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16);
            const __m256i lower = (__m256i)_mm512_cvtneps_pbh(value - (__m512)wide);
            uint16_t* to = paper + r * width + k;
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), upper);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + SIDE16 * width), lower);
        }
}

template <int PARTS>
inline void tile_pair(const char* weights, int64_t inputs, const uint16_t* paper, float* sums) {
    const int64_t width = whole_steps(inputs), part = SIDE16 * width;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < width; k += STEP, weights += 4 * TILE * PARTS) {
        _tile_loadd(4, paper + k, 2 * width);
        _tile_loadd(5, paper + part + k, 2 * width);
        _tile_loadd(6, weights, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        _tile_loadd(7, weights + 2 * TILE * PARTS, 64);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
        if (PARTS > 1) {
            _tile_loadd(6, weights + 2 * TILE, 64);
            _tile_dpbf16ps(1, 4, 6);
            _tile_loadd(7, weights + 6 * TILE, 64);
            _tile_dpbf16ps(3, 4, 7);
        }
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + 256, 64);
    _tile_stored(2, sums + 512, 64);
    _tile_stored(3, sums + 768, 64);
}

// out[r] = init[r] + bias + sums[r] for the 16 outputs from `column` on.
inline void settle(const Rows& rows, int64_t first, int64_t count, int64_t column, const float* sums) {
    const Floats bias = rows.bias ? at(rows.bias + column, 0) : splat(0);
    for (int64_t r = 0; r < count; r++) {
        Floats sum = at(sums, r) + at(sums + 256, r) + bias;
        if (rows.init) sum += at(rows.init[first + r] + column, 0);
        put(rows.out[first + r] + column, 0, sum);
    }
}

// What `product` does, for up to 32 rows. `paper`: as long as two parts of 32 rows of the widest matrix, zero
// beyond the inputs.
void tile_product(const Matrix& matrix, int64_t parts, const Rows& rows, uint16_t* paper) {
    alignas(64) float sums[4 * 256];
    const int64_t sheet = 2 * SIDE16 * whole_steps(matrix.inputs);
    const auto count = [&](int64_t first) { return rows.count - first < SIDE16 ? rows.count - first : SIDE16; };
    for (int64_t first = 0; first < rows.count; first += SIDE16)
        part_rows(rows.in + first, count(first), matrix.inputs, paper + first / SIDE16 * sheet);
    const char* weights = matrix.tiles;
    for (int64_t column = 0; column < matrix.outputs; column += STEP) {
        for (int64_t first = 0; first < rows.count; first += SIDE16) {
            const uint16_t* here = paper + first / SIDE16 * sheet;
            if (parts > 1) tile_pair<2>(weights, matrix.inputs, here, sums);
            if (parts == 1) tile_pair<1>(weights, matrix.inputs, here, sums);
            settle(rows, first, count(first), column, sums);
            if (column + SIDE16 < matrix.outputs) settle(rows, first, count(first), column + SIDE16, sums + 512);
        }
        weights += tile_bytes(matrix.inputs, STEP, parts);
    }
}

// With fewer rows of digits the tiles are too empty.
inline bool byte_tiles_pay(int64_t rows) { return rows >= 4; }

// Two registers of outputs, or one, of 16 rows in digits.
inline void byte_tile_pair(const char* weights, int64_t stride, bool both, int64_t inputs, const char* paper,
                           uint32_t* sums) {
    const int64_t wide = digits_wide(inputs), row = digits_bytes(inputs);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < inputs; k += TILE_INPUTS, weights += SIDE16 * stride) {
        _tile_loadd(4, paper + k, row);
        _tile_loadd(5, paper + wide + k, row);
        _tile_loadd(6, weights, stride);
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 5, 6);
        if (!both) continue;
        _tile_loadd(7, weights + 64, stride);
        _tile_dpbusd(2, 4, 7);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + 256, 64);
    if (!both) return;
    _tile_stored(2, sums + 512, 64);
    _tile_stored(3, sums + 768, 64);
}

// What `byte_product` does. Where inputs do not fill a tile it reads on behind the strip, for digits that are zero.
void tile_byte_product(const Matrix& matrix, const Rows& rows, const char* paper) {
    alignas(64) uint32_t sums[4 * 256];
    const int64_t inputs = matrix.inputs;
    const char* strip = matrix.weights;
    for (int64_t column = 0; column < matrix.outputs;) {
        const int64_t wide = strip_width((matrix.outputs - column) / LANES), stride = 4 * LANES * wide;
        for (int64_t b = 0; b < wide; b += 2)
            for (int64_t first = 0; first < rows.count; first += SIDE16) {
                const char* here = paper + first * digits_bytes(inputs) + sizeof(Digits);
                byte_tile_pair(strip + 2 * stride + 4 * LANES * b, stride, wide > 1, inputs, here, sums);
                for (int64_t r = first; r < rows.count && r < first + SIDE16; r++)
                    for (int64_t i = 0; i < 2 && b + i < wide; i++) {
                        const uint32_t* high = sums + 512 * i + (r - first) * LANES;
                        settle_bytes(rows, r, column + (b + i) * LANES, digits_of(paper, r, inputs),
                                     strip + 4 * LANES * (b + i), wide,
                                     word_at(reinterpret_cast<const char*>(high)),
                                     word_at(reinterpret_cast<const char*>(high + 256)));
                    }
            }
        strip += byte_strip_bytes(inputs, wide);
        column += wide * LANES;
    }
}

}  // namespace
}  // namespace speechvq
