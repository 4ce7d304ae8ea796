// Products of a few rows with a packed matrix, for wavenet_core.h. Includers define, in this same nameless
// namespace,
//   LANES                   floats in a register
//   STRIP                   registers of outputs whose sums are held at the same time, with up to SIDE rows
//   Floats, Words            a register of LANES floats, of LANES uint32 (vector types of GCC and Clang)
//   multiply_add(a, b, c)   a * b + c
//   splat(a)                a in every lane
//   hold(w)                 tells the compiler to load w once and hold it in its register
//
// A sum runs over the inputs in their order, in one lane, whatever the number of rows: so a row comes out equal
// in every bit alone, in any batch and in any piece of a stream.
#pragma once

namespace speechvq {
namespace {

constexpr int SIDE = 3;            // rows whose sums are held at the same time
constexpr int64_t BLOCK = 64;      // inputs that all rows pass before the next ones: a strip of them fits the cache

// The three ways weights lie. STEP inputs of LANES outputs take BYTES.
struct Whole {
    static constexpr int STEP = 1, BYTES = 4 * LANES;
    static inline void load(const char* from, Floats* w) { w[0] = *reinterpret_cast<const Floats*>(from); }
};
// In what follows inputs share words. A word is read as the upper weight in it with the rest behind it, as lower
// digits; that weight was rounded with them in mind, so that the word needs no parting.
// Three words carry four inputs: three in their upper bytes, the fourth in the lowest bytes of all three.
struct Thirds {
    static constexpr int STEP = 4, BYTES = 12 * LANES;
    static inline void load(const char* from, Floats* w) {
        const Words* words = reinterpret_cast<const Words*>(from);
        for (int i = 0; i < 3; i++) w[i] = (Floats)words[i];
        w[3] = (Floats)((words[2] << 24) | ((words[1] << 16) & 0xff0000) | ((words[0] << 8) & 0xff00));
    }
};
// A word carries two inputs.
struct Halves {
    static constexpr int STEP = 2, BYTES = 4 * LANES;
    static inline void load(const char* from, Floats* w) {
        const Words word = *reinterpret_cast<const Words*>(from);
        w[0] = (Floats)word;
        w[1] = (Floats)(word << 16);
    }
};

// A matrix (inputs, outputs): strip after strip of outputs, in each, input after input. Both are multiples of 16.
struct Matrix {
    int64_t inputs, outputs;
    const char* weights;
    const char* tiles;  // the same for wavenet_tiles.h, or null
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

constexpr int LINE = 64;           // bytes that come from memory together
constexpr int64_t SOON = 4096;     // bytes between the weights in use and those asked for, when there is one row

// `ahead`: weights needed after these; with several rows, each input asks for one of two lines, and
// the processor brings its neighbour.
template <class Store, int ROWS, int WIDE>
void strip(const char* weights, int64_t inputs, const float* const* in, const float* const* init,
           const float* bias, float* const* out, const char* ahead) {
    Floats sums[ROWS][WIDE];
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++) sums[r][b] = init ? at(init[r], b) : splat(0);
    if (bias) {
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++)
#pragma GCC unroll 3
            for (int r = 0; r < ROWS; r++) sums[r][b] += at(bias, b);
    }
    for (int64_t k = 0; k < inputs; k += Store::STEP) {
        Floats x[ROWS][Store::STEP];
#pragma GCC unroll 3
        for (int r = 0; r < ROWS; r++)
            for (int s = 0; s < Store::STEP; s++) x[r][s] = splat(in[r][k + s]);
        if (ROWS > 1) __builtin_prefetch(ahead += 2 * LINE);
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++, weights += Store::BYTES) {
            if (ROWS == 1)
                for (int line = 0; line < Store::BYTES; line += LINE) __builtin_prefetch(weights + SOON + line);
            Floats w[Store::STEP];
            Store::load(weights, w);
            for (int s = 0; s < Store::STEP; s++) {
                if (ROWS > 1) hold(w[s]);
#pragma GCC unroll 3
                for (int r = 0; r < ROWS; r++) sums[r][b] = multiply_add(x[r][s], w[s], sums[r][b]);
            }
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int b = 0; b < WIDE; b++) put(out[r], b, sums[r][b]);
}

template <int WIDE>
void few(const char* weights, int64_t inputs, int64_t count, const float* const* in, const float* const* init,
         const float* bias, float* const* out, const char* ahead) {
    if (count == 1) strip<Whole, 1, WIDE>(weights, inputs, in, init, bias, out, ahead);
    if (count == 2) strip<Whole, 2, WIDE>(weights, inputs, in, init, bias, out, ahead);
    if (count == 3) strip<Whole, 3, WIDE>(weights, inputs, in, init, bias, out, ahead);
}

// Several rows: a block of inputs stays in the first cache, in float32, while all rows pass it.
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
        const char* ahead = weights + (k + inputs) / Store::STEP * WIDE * Store::BYTES;
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
            few<WIDE>(as_floats, inputs, count, in, k || rows.init ? init : nullptr, bias, out, ahead);
            ahead += inputs * 2 * LINE;
        }
    }
}

template <class Store, int WIDE>
void one_strip(const char* weights, const Matrix& matrix, const Rows& rows, int64_t column) {
    // Unpacking pays from three rows on; the second of two finds the packed weights in the first cache.
    constexpr int64_t ONE_BY_ONE = Store::STEP > 1 ? 2 : 1;
    if (rows.count > ONE_BY_ONE) return many<Store, WIDE>(weights, matrix, rows, column);
    for (int64_t r = 0; r < rows.count; r++) {
        const float* init = rows.init ? rows.init[r] + column : nullptr;
        float* out = rows.out[r] + column;
        strip<Store, 1, WIDE>(weights, matrix.inputs, rows.in + r, init ? &init : nullptr,
                              rows.bias ? rows.bias + column : nullptr, &out, nullptr);
    }
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
