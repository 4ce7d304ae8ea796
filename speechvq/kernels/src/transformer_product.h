// Products of some rows with a packed matrix, for transformer_core.h. What includers define is said in
// wavenet_product.h, whose products are made for three rows at most.
//
// Reading the weights is what takes time, so they take 20 bits each: a weight is a whole number times the scale of its
// stretch of inputs, in which the largest needs all of the bits, and is off by 2^-20 of the largest at most. Up to FEW
// rows unpack a weight into a register and share it there; for more, a stretch becomes floats in the first cache, which
// up to GROUP rows at a time pass, while the next is asked of the memory.
//
// A sum runs over the inputs of a stretch in their order, and over stretches, in one lane, whatever the number of
// rows: so a row comes out equal in every bit alone and in any batch.
#pragma once

namespace speechvq {
namespace {

typedef int32_t Ints __attribute__((vector_size(4 * LANES), may_alias));

constexpr int FEW = 4;
constexpr int GROUP = LANES == 16 ? 8 : 4;
constexpr int BROAD = 3;         // registers of outputs of each row whose sums are held at the same time
constexpr int64_t STRETCH = 64;  // inputs that share a scale, at most
// Bytes between the weights in use and those asked for, into the first cache and into the next, when rows are few.
constexpr int64_t NEAR = 2048, FAR = 16384;

// A matrix (inputs, outputs) and a bias: BROAD registers of outputs after the other; in each, stretch after stretch;
// in each, the registers of scales, then OCTET times as many for eight inputs after the other.
struct Layer {
    int64_t inputs, outputs;
    const float *weights, *bias;
};

// Registers that hold the weights of eight inputs. The first, the lowest four bits of each, those of the first input
// lowest; each of the others, the 16 highest of one input in its upper halves and of the next in its lower halves.
constexpr int OCTET = 5;

// Rows one after the other, `in` (rows, inputs) and `out` (rows, outputs), from some input and some output on.
struct Part {
    const float* in;
    float* out;
    int64_t inputs, outputs;
};

// Registers of outputs in the strip that begins where `left` are left.
inline int64_t breadth(int64_t left) { return left < BROAD ? left : BROAD; }

// Registers that a stretch of some inputs takes for each register of outputs.
inline int64_t registers(int64_t inputs) { return 1 + inputs / 8 * OCTET; }

// The lowest digits of input I of eight, in the bits 12 to 15. Below are some of others: they were there when the
// weight was rounded, and belong to it.
template <int I>
inline Words lowest(Words of_eight) {
    if constexpr (I < 3) return of_eight << (12 - 4 * I);
    return of_eight >> (4 * I - 12);
}

inline Floats number(Words highest, Words lowest) {
    return __builtin_convertvector((Ints)(highest | (lowest & 0xffff)), Floats);
}

// take(i, the weights of input i), for each of eight inputs and one of WIDE registers of outputs.
template <int WIDE, int I = 0, class Take>
inline void unpack(const float* from, Words of_eight, const Take& take) {
    const Words pair = (Words)at(from, WIDE * (1 + I / 2));
    take(I, number(pair & 0xffff0000, lowest<I>(of_eight)));
    take(I + 1, number(pair << 16, lowest<I + 1>(of_eight)));
    if constexpr (I < 6) unpack<WIDE, I + 2>(from, of_eight, take);
}

template <int ROWS, int WIDE>
struct Sums {
    Floats of[ROWS][WIDE];

    inline Sums() {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
            for (int b = 0; b < WIDE; b++) of[r][b] = splat(0);
    }

    inline void add_to(const Part& part, const float* scales) {
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
            for (int b = 0; b < WIDE; b++) {
                float* to = part.out + r * part.outputs;
                put(to, b, multiply_add(at(scales, b), of[r][b], at(to, b)));
            }
    }
};

// A stretch as it lies in memory, of which weights are unpacked as they are used.
template <int ROWS, int WIDE>
void pass_packed(const float* weights, int64_t stretch, const Part& part) {
    const float* scales = weights;
    weights += WIDE * LANES;
    Sums<ROWS, WIDE> sums;
    for (int64_t k = 0; k < stretch; k += 8, weights += OCTET * WIDE * LANES)
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++) {
            const char* ahead = reinterpret_cast<const char*>(weights + b * OCTET * LANES);
            for (int line = 0; line < OCTET * LANES * 4; line += LINE) {
                __builtin_prefetch(ahead + line + NEAR);
                __builtin_prefetch(ahead + line + FAR, 0, 2);
            }
            unpack<WIDE>(weights + b * LANES, (Words)at(weights, b), [&](int i, Floats w) {
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r++)
                    sums.of[r][b] = multiply_add(splat(part.in[r * part.inputs + k + i]), w, sums.of[r][b]);
            });
        }
    sums.add_to(part, scales);
}

// A stretch in the first cache. At every input, what lies `ahead` is asked of the memory, `pace` bytes further.
template <int ROWS, int WIDE>
void pass_floats(const float* weights, const float* scales, int64_t stretch, const Part& part, const char* ahead,
                 int64_t pace) {
    Sums<ROWS, WIDE> sums;
    for (int64_t k = 0; k < stretch; k++, weights += WIDE * LANES, ahead += pace) {
        __builtin_prefetch(ahead);
        Floats w[WIDE];
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++) w[b] = at(weights, b);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const Floats x = splat(part.in[r * part.inputs + k]);
#pragma GCC unroll 3
            for (int b = 0; b < WIDE; b++) sums.of[r][b] = multiply_add(x, w[b], sums.of[r][b]);
        }
    }
    sums.add_to(part, scales);
}

template <int WIDE, int ROWS = FEW>
void few(int64_t rows, const float* weights, int64_t stretch, const Part& part) {
    if (rows == ROWS) return pass_packed<ROWS, WIDE>(weights, stretch, part);
    if constexpr (ROWS > 1) few<WIDE, ROWS - 1>(rows, weights, stretch, part);
}

template <int WIDE, int ROWS = GROUP>
void group(int64_t rows, const float* weights, const float* scales, int64_t stretch, const Part& part,
           const char* ahead, int64_t pace) {
    if (rows == ROWS) return pass_floats<ROWS, WIDE>(weights, scales, stretch, part, ahead, pace);
    if constexpr (ROWS > 1) group<WIDE, ROWS - 1>(rows, weights, scales, stretch, part, ahead, pace);
}

template <int WIDE>
void many(int64_t rows, const float* weights, int64_t stretch, const Part& part) {
    alignas(64) float wide[STRETCH * WIDE * LANES];
    const float* scales = weights;
    const char* next = reinterpret_cast<const char*>(weights + registers(stretch) * WIDE * LANES);
    weights += WIDE * LANES;
    for (int64_t k = 0; k < stretch; k += 8, weights += OCTET * WIDE * LANES)
#pragma GCC unroll 3
        for (int b = 0; b < WIDE; b++) {
            float* to = wide + (k * WIDE + b) * LANES;
            unpack<WIDE>(weights + b * LANES, (Words)at(weights, b), [&](int i, Floats w) { put(to, i * WIDE, w); });
        }
    // Two lines an input, of which the processor brings one by itself, are more than a stretch takes.
    const int64_t groups = (rows + GROUP - 1) / GROUP, pace = 2 * LINE / groups;
    for (int64_t r = 0; r < rows; r += GROUP, next += pace * stretch) {
        const Part some = {part.in + r * part.inputs, part.out + r * part.outputs, part.inputs, part.outputs};
        group<WIDE>(rows - r < GROUP ? rows - r : GROUP, wide, scales, stretch, some, next, pace);
    }
}

// One strip of outputs. Returns where the weights of the next begin.
template <int WIDE>
const float* strip_of(const float* weights, const Layer& layer, int64_t rows, const float* in, float* out) {
    for (int64_t k = 0; k < layer.inputs; k += STRETCH) {
        const int64_t stretch = layer.inputs - k < STRETCH ? layer.inputs - k : STRETCH;
        const Part part = {in + k, out, layer.inputs, layer.outputs};
        if (rows <= FEW)
            few<WIDE>(rows, weights, stretch, part);
        else
            many<WIDE>(rows, weights, stretch, part);
        weights += registers(stretch) * WIDE * LANES;
    }
    return weights;
}

// out = in * matrix + bias, for rows one after the other; added to what is in `out`, if `add`.
inline void times(const Layer& layer, int64_t rows, const float* in, float* out, bool add) {
    const int64_t blocks = layer.outputs / LANES;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t b = 0; b < blocks; b++) {
            float* to = out + r * layer.outputs;
            put(to, b, add ? at(layer.bias, b) + at(to, b) : at(layer.bias, b));
        }
    const float* weights = layer.weights;
    for (int64_t b = 0; b < blocks; b += breadth(blocks - b)) {
        const int64_t wide = breadth(blocks - b);
        float* to = out + b * LANES;
        if (wide == 3) weights = strip_of<3>(weights, layer, rows, in, to);
        if (wide == 2) weights = strip_of<2>(weights, layer, rows, in, to);
        if (wide == 1) weights = strip_of<1>(weights, layer, rows, in, to);
    }
}

}  // namespace
}  // namespace speechvq
