// WaveNet on a CPU, sample after sample: what one instruction set offers, and who offers it.
//
// The network of speechvq/nets/wavenet.py, one place at a time with rings of past inputs (Fast WaveNet, Le Paine
// et al. 2016). speechvq/kernels/wavenet_plain.py says the same in a page of Python and is what this must agree
// with.
//
// Letters: N utterances, F columns of conditions, T = F * hop samples, L layers, R residual, G gate, S skip,
// P post, Q outputs.
#pragma once

#include <cstdint>

namespace speechvq {

struct WaveNetShape {
    int64_t layers, taps, residual, gate, skip, post, outputs;
    int64_t levels;    // of the amplitude
    int64_t mixtures;  // logistics in the mixture; 0 for a category per level
    const int64_t* dilations;
};

// All float32 and contiguous, inputs before outputs.
struct WaveNetWeights {
    const float* enter;          // (levels, R), or (2, R): factor and offset of a sample's value
    const float* dilated;        // (L, taps * R, 2 G), the oldest tap first
    const float* residual;       // (L, G, R)
    const float* residual_bias;  // (L, R)
    const float* skip;           // (L * G, S)
    const float* skip_bias;      // (S)
    const float* post;           // (S, P)
    const float* post_bias;      // (P)
    const float* last;           // (P, Q)
    const float* last_bias;      // (Q)
};

// How weights lie in memory. Products with bytes are of integers; all else is computed in float32 in any case.
enum WaveNetStorage : int64_t { FLOAT32, FLOAT24, BFLOAT16, INT8 };

struct Drawing {
    double temperature;  // 0 takes the likeliest
    int64_t top_k;       // 0 for all
    double top_p;
    double floor;  // least log scale of a logistic
};

struct WaveNetJob {
    int64_t rows, frames, hop;
    const float* conditions;  // (N, F, L, 2 G), the biases of the gates among them
    const double* uniforms;   // (N, T) or, for mixtures, (N, T, 2)
    Drawing drawing;
    float* past;            // (N, places, padded(R)), a ring a layer
    int64_t* before;        // (N), the sample before the first; afterwards the last one
    int64_t time;           // samples made before, which says where the rings begin
    const int64_t* forced;  // (N, T) in place of what is drawn, or null
    int64_t* made;          // (N, T)
    float* logits;          // (N, T, Q), or null
};

// Floats (of the uniforms: numbers) from one row of a job to the next.
struct WaveNetStrides {
    int64_t conditions, uniforms, past, made, logits;
};

struct PackedWaveNet;

struct WaveNetKernel {
    const char* name;
    // Whether this processor (and this build) can run it.
    bool (*usable)();
    // Null when memory is out. Nothing of the weights is needed afterwards.
    PackedWaveNet* (*pack)(const WaveNetShape& shape, const WaveNetWeights& weights, WaveNetStorage storage);
    // Of a job of this network with so many columns of `hop` samples.
    WaveNetStrides (*strides)(const PackedWaveNet* net, int64_t frames, int64_t hop);
    // False when memory is out. Safe to call from several threads on one network, each with its own rows.
    bool (*decode)(const PackedWaveNet* net, const WaveNetJob& job);
    void (*release)(PackedWaveNet* net);
};

// Fastest last. Those a compiler cannot build say so by `usable`.
extern const WaveNetKernel wavenet_generic, wavenet_avx2, wavenet_avx512, wavenet_vnni, wavenet_amx;

// Widths are filled up with zeros to whole registers of the widest kernel, so that all share one state.
inline int64_t padded(int64_t width) { return (width + 15) / 16 * 16; }

// Whether it can be packed: every width at least 1, nothing so large that counting it would overflow.
bool sensible(const WaveNetShape& shape);

}  // namespace speechvq
