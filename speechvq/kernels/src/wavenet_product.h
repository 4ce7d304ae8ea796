// Products of a few rows with a packed matrix, for wavenet_core.h. Includers define, in this same nameless
// namespace,
//   LANES                   floats in a register
//   STRIP                   registers of outputs whose sums are held at the same time, with up to SIDE rows
//   Floats, Ints            a register of LANES floats, of LANES int32 (vector types of GCC and Clang)
//   multiply_add(a, b, c)   a * b + c
//   splat(a)                a in every lane
//   widen24(p)              LANES floats out of 3 LANES bytes, the upper three of each
//
// A sum runs over the inputs in their order, in one lane, whatever the number of rows: so a row comes out equal
// in every bit alone, in any batch and in any piece of a stream.
#pragma once

namespace speechvq {
namespace {

constexpr int SIDE = 3;            // rows whose sums are held at the same time
constexpr int64_t BLOCK = 64;      // inputs that many rows pass before the next ones: a strip of them fits the first cache

// The three ways weights lie. STEP inputs of LANES outputs take BYTES.
struct Whole {
    static constexpr int STEP = 1, BYTES = 4 * LANES;
    static inline void load(const char* from, Floats* w) { w[0] = *reinterpret_cast<const Floats*>(from); }
};
struct Cut {
    static constexpr int STEP = 1, BYTES = 3 * LANES;
    static inline void load(const char* from, Floats* w) { w[0] = widen24(from); }
};
// Two inputs share a word. The upper half is read with the lower one behind it, as lower digits; it was rounded
// with them in mind, so that the halves need no parting.
struct Halves {
    static constexpr int STEP = 2, BYTES = 4 * LANES;
    static inline void load(const char* from, Floats* w) {
        const Ints word = *reinterpret_cast<const Ints*>(from);
        w[0] = (Floats)(word << 16);
        w[1] = (Floats)word;
    }
};

// A matrix (inputs, outputs): strip after strip of outputs, in each, input after input. Both are even.
struct Matrix {
    int64_t inputs, outputs;
    const char* weights;
};

// out[r] = init[r] + bias + in[r] * matrix, for `count` rows; `init` and `bias` may be null.
struct Rows {
    int64_t count;
    const float* const* in;
    const float* const* init;
    const float* bias;
    float* const* out;
};

inline Floats at(const float* from, int64_t index) {
    Floats value;
    __builtin_memcpy(&value, from + index * LANES, sizeof value);
    return value;
}

inline void put(float* to, int64_t index, Floats value) {
    __builtin_memcpy(to + index * LANES, &value, sizeof value);
}

template <class Store, int ROWS, int WIDE>
void strip(const char* weights, int64_t inputs, const float* const* in, const float* const* init,
           const float* bias, float* const* out) {
    Floats sums[ROWS][WIDE];
    for (int r = 0; r < ROWS; r++)
        for (int b = 0; b < WIDE; b++) {
            sums[r][b] = init ? at(init[r], b) : splat(0);
            if (bias) sums[r][b] += at(bias, b);
        }
    for (int64_t k = 0; k < inputs; k += Store::STEP) {
        Floats x[ROWS][Store::STEP];
        for (int r = 0; r < ROWS; r++)
            for (int s = 0; s < Store::STEP; s++) x[r][s] = splat(in[r][k + s]);
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++, weights += Store::BYTES) {
            Floats w[Store::STEP];
            Store::load(weights, w);
            for (int s = 0; s < Store::STEP; s++)
                for (int r = 0; r < ROWS; r++) sums[r][b] = multiply_add(x[r][s], w[s], sums[r][b]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int b = 0; b < WIDE; b++) put(out[r], b, sums[r][b]);
}

template <class Store, int WIDE>
void few(const char* weights, int64_t inputs, int64_t count, const float* const* in, const float* const* init,
         const float* bias, float* const* out) {
    if (count == 1) strip<Store, 1, WIDE>(weights, inputs, in, init, bias, out);
    if (count == 2) strip<Store, 2, WIDE>(weights, inputs, in, init, bias, out);
    if (count == 3) strip<Store, 3, WIDE>(weights, inputs, in, init, bias, out);
}

// Many rows: a block of inputs stays in the first cache, in float32, while all rows pass it.
template <class Store, int WIDE>
void many(const char* weights, const Matrix& matrix, const Rows& rows, int64_t column) {
    alignas(64) float wide[BLOCK * WIDE * LANES];
    for (int64_t k = 0; k < matrix.inputs; k += BLOCK) {
        const int64_t inputs = matrix.inputs - k < BLOCK ? matrix.inputs - k : BLOCK;
        const char* block = weights + k / Store::STEP * WIDE * Store::BYTES;
        const char* as_floats = block;
        if (Store::BYTES != 4 * LANES * Store::STEP) {
            as_floats = reinterpret_cast<const char*>(wide);
            for (int64_t i = 0; i < inputs; i += Store::STEP)
                for (int b = 0; b < WIDE; b++, block += Store::BYTES) {
                    Floats w[Store::STEP];
                    Store::load(block, w);
                    for (int s = 0; s < Store::STEP; s++) put(wide, (i + s) * WIDE + b, w[s]);
                }
        }
        for (int64_t r = 0; r < rows.count; r += SIDE) {
            const float *in[SIDE], *init[SIDE];
            float* out[SIDE];
            const int64_t count = rows.count - r < SIDE ? rows.count - r : SIDE;
            for (int64_t i = 0; i < count; i++) {
                in[i] = rows.in[r + i] + k;
                out[i] = rows.out[r + i] + column;
                init[i] = k ? out[i] : rows.init ? rows.init[r + i] + column : nullptr;
            }
            const float* bias = rows.bias && k == 0 ? rows.bias + column : nullptr;
            few<Whole, WIDE>(as_floats, inputs, count, in, k || rows.init ? init : nullptr, bias, out);
        }
    }
}

template <class Store, int WIDE>
void one_strip(const char* weights, const Matrix& matrix, const Rows& rows, int64_t column) {
    if (rows.count > SIDE) return many<Store, WIDE>(weights, matrix, rows, column);
    const float* init[SIDE];
    float* out[SIDE];
    for (int64_t r = 0; r < rows.count; r++) {
        out[r] = rows.out[r] + column;
        init[r] = rows.init ? rows.init[r] + column : nullptr;
    }
    few<Store, WIDE>(weights, matrix.inputs, rows.count, rows.in, rows.init ? init : nullptr,
                     rows.bias ? rows.bias + column : nullptr, out);
}

// Registers of outputs in the strip that begins where `left` are left.
inline int64_t strip_width(int64_t left) {
    int64_t wide = STRIP;
    while (wide > left) wide /= 2;
    return wide;
}

template <class Store>
void product(const Matrix& matrix, const Rows& rows) {
    const char* weights = matrix.weights;
    for (int64_t b = 0; b < matrix.outputs / LANES;) {
        const int64_t wide = strip_width(matrix.outputs / LANES - b);
        if (wide == 8) one_strip<Store, STRIP < 8 ? STRIP : 8>(weights, matrix, rows, b * LANES);
        if (wide == 4) one_strip<Store, 4>(weights, matrix, rows, b * LANES);
        if (wide == 2) one_strip<Store, 2>(weights, matrix, rows, b * LANES);
        if (wide == 1) one_strip<Store, 1>(weights, matrix, rows, b * LANES);
        weights += matrix.inputs / Store::STEP * wide * Store::BYTES;
        b += wide;
    }
}

}  // namespace
}  // namespace speechvq
