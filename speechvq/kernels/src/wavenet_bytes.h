// Products of rows with a matrix of bytes (int8 storage), for wavenet_core.h. Beside what wavenet_product.h asks
// for, includers define
//   Octets            a byte for each lane
//   greatest(x)       the largest of LANES floats
//   lowest_bytes(x)   the lowest byte of each word
//   dot(sum, w, x)    in each lane: sum + the four bytes of w, signed, times those of x, unsigned
//
// A weight is a whole number from -127 to 127 times the scale of its output. A row is taken as whole numbers from
// -32767 to 32767 times a scale of its own; with 32768 added, each has two digits from 0 to 255: 256 high + low. So
// all that is summed up are integers, which 32 bits hold for up to 65536 inputs, exact in any order, by tiles or
// without: a row comes out equal in every bit alone, in any batch and in any piece of a stream.
//
// A strip (of wavenet_product.h) begins with a scale for each output and 128 times the sum of its weights, which is
// what those 32768 bring into the sum of high digits; then words of four inputs, one after the other.
#pragma once

namespace speechvq {
namespace {

typedef int32_t Integers __attribute__((vector_size(4 * LANES), may_alias));

constexpr int64_t TILE_INPUTS = 64;     // of a step of wavenet_tiles.h
constexpr int64_t OVERRUN = 8192;       // bytes after the weights that may be read, to no effect
constexpr int BYTE_ROWS = LANES == 16 ? SIDE : 1;  // rows whose sums are held at the same time

// A row in digits: this, then `digits_wide` high digits, then as many low ones; zeros beyond the inputs.
struct alignas(64) Digits {
    float scale;
    const char* highs() const { return reinterpret_cast<const char*>(this + 1); }
};

inline int64_t digits_wide(int64_t inputs) { return (inputs + TILE_INPUTS - 1) / TILE_INPUTS * TILE_INPUTS; }
inline int64_t digits_bytes(int64_t inputs) { return int64_t(sizeof(Digits)) + 2 * digits_wide(inputs); }
inline const Digits& digits_of(const char* paper, int64_t row, int64_t inputs) {
    return *reinterpret_cast<const Digits*>(paper + row * digits_bytes(inputs));
}

inline Words word_at(const char* from) {
    Words value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

inline Words word_splat(const char* from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return Words{} + word;
}

inline float largest_magnitude(const float* in, int64_t inputs) {
    Floats most = splat(0);
    for (int64_t b = 0; b * LANES < inputs; b++) {
        const Floats value = (Floats)((Words)at(in, b) & 0x7fffffffu);
        most = value > most ? value : most;
    }
    return greatest(most);
}

void write_digits(const float* in, int64_t inputs, char* to) {
    constexpr float MOST = 32767, MIDDLE = 12582912 + 32768;  // 1.5 * 2^23, as in wavenet_gate.h
    const float most = largest_magnitude(in, inputs);
    const Floats factor = splat(most > 1e-30f ? MOST / most : 0);
    const int64_t wide = digits_wide(inputs);
    char *high = to + sizeof(Digits), *low = high + wide;
    for (int64_t k = 0; k < inputs; k += LANES) {
        const Words whole = (Words)multiply_add(at(in + k, 0), factor, splat(MIDDLE));
        const Octets lows = lowest_bytes(whole);
        const Octets highs = lowest_bytes(whole >> 8);
        __builtin_memcpy(low + k, &lows, LANES);
        __builtin_memcpy(high + k, &highs, LANES);
    }
    std::memset(high + inputs, 0, wide - inputs);
    std::memset(low + inputs, 0, wide - inputs);
    reinterpret_cast<Digits*>(to)->scale = most / MOST;
}

// out[r] = init[r] + bias + what the sums of digits come to, for a register of outputs. `head`: its scales, in a strip
// `wide` registers wide.
inline void settle_bytes(const Rows& rows, int64_t r, int64_t column, const Digits& row, const char* head, int64_t wide,
                         Words high, Words low) {
    const Floats scales = at(reinterpret_cast<const float*>(head), 0);
    const Words brought = word_at(head + 4 * LANES * wide);
    const Floats sum = multiply_add(__builtin_convertvector((Integers)(high - brought), Floats), splat(256),
                                    __builtin_convertvector((Integers)low, Floats));
    Floats start = rows.bias ? at(rows.bias + column, 0) : splat(0);
    if (rows.init) start += at(rows.init[r] + column, 0);
    put(rows.out[r] + column, 0, multiply_add(sum, scales * splat(row.scale), start));
}

inline int64_t byte_strip_bytes(int64_t inputs, int64_t wide) { return wide * LANES * (inputs + 8); }

// Rows from `first` on and WIDE registers of outputs, from `part` of a strip on that is `wide` registers wide.
template <int ROWS, int WIDE>
void byte_strip(const char* part, int64_t wide, int64_t inputs, const Rows& rows, int64_t first, const char* paper,
                int64_t column) {
    constexpr int64_t REGISTER = 4 * LANES;
    const int64_t low_digits = digits_wide(inputs);
    Words high[ROWS][WIDE] = {}, low[ROWS][WIDE] = {};
    const char *weights = part + 2 * REGISTER * wide, *digits[ROWS];
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++) digits[r] = digits_of(paper, first + r, inputs).highs();
    for (int64_t k = 0; k < inputs; k += 4, weights += REGISTER * wide) {
        Words x[ROWS], y[ROWS];
#pragma GCC unroll 3
        for (int r = 0; r < ROWS; r++) {
            x[r] = word_splat(digits[r] + k);
            y[r] = word_splat(digits[r] + low_digits + k);
        }
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++) {
            if (ROWS == 1) __builtin_prefetch(weights + b * REGISTER + SOON);
            const Words w = word_at(weights + b * REGISTER);
#pragma GCC unroll 3
            for (int r = 0; r < ROWS; r++) {
                high[r][b] = dot(high[r][b], w, x[r]);
                low[r][b] = dot(low[r][b], w, y[r]);
            }
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++)
            settle_bytes(rows, first + r, column + b * LANES, digits_of(paper, first + r, inputs),
                         part + b * REGISTER, wide, high[r][b], low[r][b]);
}

template <int WIDE>
void byte_rows(const char* strip, int64_t inputs, const Rows& rows, const char* paper, int64_t column) {
    constexpr int FEWER = WIDE > 4 ? 4 : WIDE;
    for (int64_t r = 0; r < rows.count; r += BYTE_ROWS) {
        const int64_t count = rows.count - r < BYTE_ROWS ? rows.count - r : BYTE_ROWS;
        if (count == 1) byte_strip<1, WIDE>(strip, WIDE, inputs, rows, r, paper, column);
        for (int64_t b = 0; count > 1 && b < WIDE; b += FEWER) {
            const char* part = strip + 4 * LANES * b;
            const int64_t from = column + b * LANES;
            if (count == 2) byte_strip<BYTE_ROWS < 2 ? 1 : 2, FEWER>(part, WIDE, inputs, rows, r, paper, from);
            if (count == 3) byte_strip<BYTE_ROWS, FEWER>(part, WIDE, inputs, rows, r, paper, from);
        }
    }
}

// What `product` does, of rows in digits.
void byte_product(const Matrix& matrix, const Rows& rows, const char* paper) {
    const char* strip = matrix.weights;
    for (int64_t b = 0; b < matrix.outputs / LANES;) {
        const int64_t wide = strip_width(matrix.outputs / LANES - b);
        if (wide == 8) byte_rows<STRIP < 8 ? STRIP : 8>(strip, matrix.inputs, rows, paper, b * LANES);
        if (wide == 4) byte_rows<4>(strip, matrix.inputs, rows, paper, b * LANES);
        if (wide == 2) byte_rows<2>(strip, matrix.inputs, rows, paper, b * LANES);
        if (wide == 1) byte_rows<1>(strip, matrix.inputs, rows, paper, b * LANES);
        strip += byte_strip_bytes(matrix.inputs, wide);
        b += wide;
    }
}

// Packs the dense (inputs, outputs) at `place`, which moves on.
Matrix pack_bytes(const float* dense, int64_t inputs, int64_t outputs, char*& place) {
    const Matrix matrix = {inputs, outputs, place, nullptr};
    for (int64_t b = 0; b < outputs / LANES;) {
        const int64_t wide = strip_width(outputs / LANES - b), lanes = wide * LANES;
        for (int64_t i = 0; i < lanes; i++) {
            const float* column = dense + b * LANES + i;
            float most = 0;
            for (int64_t k = 0; k < inputs; k++) most = std::fmax(most, std::fabs(column[k * outputs]));
            const float scale = most / 127;
            std::memcpy(place + 4 * i, &scale, sizeof scale);
            int32_t brought = 0;
            char* to = place + 8 * lanes + 4 * i;
            for (int64_t k = 0; k < inputs; k++) {
                const float whole = scale > 0 ? std::nearbyint(column[k * outputs] / scale) : 0.0f;
                const int8_t weight = int8_t(std::fmax(-127.0f, std::fmin(127.0f, whole)));
                std::memcpy(to + k / 4 * 4 * lanes + k % 4, &weight, 1);
                brought += 128 * weight;
            }
            std::memcpy(place + 4 * lanes + 4 * i, &brought, sizeof brought);
        }
        place += byte_strip_bytes(inputs, wide);
        b += wide;
    }
    return matrix;
}

}  // namespace
}  // namespace speechvq
