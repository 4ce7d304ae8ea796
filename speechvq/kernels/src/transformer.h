// A causal transformer on a CPU, place after place: what one instruction set offers, and who offers it.
//
// The blocks of speechvq/nets/transformer.py with keys and values kept, a norm and a linear layer after them.
//
// Letters: R rows (sequences), L layers, E channels, A those of the attention (all heads), H heads, W channels
// between a block's two layers, Q outputs of the last layer.
#pragma once

#include <cstdint>

namespace speechvq {

struct TransformerShape {
    int64_t layers, width, attention, heads, wide;
    int64_t leaves;   // last layers, of which each step takes one; 0 for none and no norm before it
    int64_t outputs;  // of each of them
};

// All float32 and contiguous; outputs before inputs, as torch has them.
struct TransformerBlock {
    const float *before, *before_bias;    // (E): the norm
    const float *look, *look_bias;        // (3 A, E): queries, keys, values
    const float *bring, *bring_bias;      // (E, A)
    const float *between, *between_bias;  // (E): the norm
    const float *widen, *widen_bias;      // (W, E)
    const float *narrow, *narrow_bias;    // (E, W)
};

struct TransformerLeave {
    const float *norm, *norm_bias;  // (E)
    const float *weight, *bias;     // (leaves, Q, E), (leaves, Q)
};

struct TransformerStep {
    int64_t rows;
    int64_t place, first;  // where the step is, and the first place that it sees
    int64_t length;        // places that `kept` has room for
    const float* turn;     // (A / H / 2, 2): cosines and sines, which queries and keys are turned by; or null
    float* const* kept;    // (L) of (R, 2, H, length, A / H)
    float* x;              // (R, E), which becomes what comes out of the last block
    int64_t leave;         // which of the last layers; -1 for none
    float* logits;         // (R, Q)
};

struct PackedTransformer;

struct TransformerKernel {
    const char* name;
    bool (*usable)();
    // Null when memory is out. Nothing of the weights is needed afterwards.
    PackedTransformer* (*pack)(const TransformerShape& shape, const TransformerBlock* blocks,
                               const TransformerLeave& leave);
    // False when memory is out.
    bool (*step)(const PackedTransformer* packed, const TransformerStep& step);
    void (*release)(PackedTransformer* packed);
};

extern const TransformerKernel transformer_generic, transformer_avx2, transformer_avx512;

// Whether it can be packed: widths and those of a head whole registers of the widest kernel.
bool sensible(const TransformerShape& shape);

}  // namespace speechvq
