// Products of some rows with a packed matrix, for transformer_core.h. What includers define is said in
// wavenet_product.h, whose products are made for three rows at most; here it is up to GROUP that share each weight
// while it is in its register.
//
// A sum runs over the inputs in their order, in one lane, whatever the number of rows: so a row comes out equal in
// every bit alone and in any batch.
#pragma once

namespace speechvq {
namespace {

constexpr int GROUP = LANES == 16 ? 8 : 4;  // rows whose sums are held at the same time
constexpr int BROAD = 3;                    // registers of outputs of each of them
constexpr int64_t NEXT = 4096;              // bytes between the weights in use and those asked for

// A matrix (inputs, outputs) and a bias: BROAD registers of outputs after the other, in each, input after input.
struct Layer {
    int64_t inputs, outputs;
    const float *weights, *bias;
};

// Registers of outputs in the strip that begins where `left` are left.
inline int64_t breadth(int64_t left) { return left < BROAD ? left : BROAD; }

template <int ROWS, int WIDE>
void strip_of(const float* weights, const float* bias, int64_t inputs, const float* in, float* out, int64_t stride,
              bool add) {
    Floats sums[ROWS][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++)
            sums[r][b] = add ? at(bias, b) + at(out + r * stride, b) : at(bias, b);
    for (int64_t k = 0; k < inputs; k++, weights += WIDE * LANES) {
        Floats w[WIDE];
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++) {
            w[b] = at(weights, b);
            if (b * LANES % 16 == 0) __builtin_prefetch(reinterpret_cast<const char*>(weights + b * LANES) + NEXT);
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const Floats x = splat(in[r * inputs + k]);
#pragma GCC unroll 3
            for (int b = 0; b < WIDE; b++) sums[r][b] = multiply_add(x, w[b], sums[r][b]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++) put(out + r * stride, b, sums[r][b]);
}

template <int WIDE, int ROWS = GROUP>
void strip_for(int64_t rows, const float* weights, const float* bias, const Layer& layer, const float* in, float* out,
               bool add) {
    if (rows == ROWS) return strip_of<ROWS, WIDE>(weights, bias, layer.inputs, in, out, layer.outputs, add);
    if constexpr (ROWS > 1) strip_for<WIDE, ROWS - 1>(rows, weights, bias, layer, in, out, add);
}

// out = in * matrix + bias, for rows one after the other; added to what is in `out`, if `add`.
inline void times(const Layer& layer, int64_t rows, const float* in, float* out, bool add) {
    const float* weights = layer.weights;
    for (int64_t b = 0; b < layer.outputs / LANES;) {
        const int64_t wide = breadth(layer.outputs / LANES - b);
        for (int64_t r = 0; r < rows; r += GROUP) {
            const int64_t some = rows - r < GROUP ? rows - r : GROUP;
            const float *from = in + r * layer.inputs, *bias = layer.bias + b * LANES;
            float* to = out + r * layer.outputs + b * LANES;
            if (wide == 3) strip_for<3>(some, weights, bias, layer, from, to, add);
            if (wide == 2) strip_for<2>(some, weights, bias, layer, from, to, add);
            if (wide == 1) strip_for<1>(some, weights, bias, layer, from, to, add);
        }
        weights += layer.inputs * wide * LANES;
        b += wide;
    }
}

}  // namespace
}  // namespace speechvq
