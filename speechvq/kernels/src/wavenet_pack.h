// A network in the order wavenet_core.h reads it: all weights in one piece, those of a sample one after the
// other. See wavenet_product.h for what includers define, and for how a matrix lies.
#pragma once

namespace speechvq {
namespace {

struct Net {
    WaveNetShape shape;
    WaveNetStorage storage;
    int64_t R, G, S, P, Q;    // the widths of `shape`, filled up
    int64_t *dilations, *begins, *lengths;  // (L): of the rings, in places
    int64_t places;           // of all rings
    Matrix *past, *now, *residual;          // (L, taps - 1), (L), (L - 1): the last one reaches no output
    Matrix skip, post, last;
    float *enter, *residual_bias, *skip_bias, *post_bias, *last_bias;
    int64_t parts;            // of each weight in tiles; 0 for none
    char *weights, *tiles;
    char* rest;               // everything else that is pointed to
    Net* quick;               // the same with narrower weights, which guesses for one utterance; or null
};

inline uint32_t bits(float value) {
    uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return word;
}

// The upper bits of a word that is nearest to `value` when the lower bits are those of `lower`, with them.
inline uint32_t nearest_word(float value, uint32_t lower, int lower_bits) {
    const uint32_t magnitude = bits(value) & 0x7fffffffu, sign = bits(value) & 0x80000000u;
    const uint32_t half = 1u << (lower_bits - 1);
    const uint32_t above = magnitude + half < lower ? 0 : (magnitude + half - lower) >> lower_bits << lower_bits;
    return sign | above | lower;
}

// The words of one lane: `inputs` weights `stride` floats apart.
inline void words_of(WaveNetStorage storage, const float* weights, int64_t stride, uint32_t* words) {
    if (storage == FLOAT32) words[0] = bits(weights[0]);
    if (storage == BFLOAT16)
        words[0] = nearest_word(weights[0], nearest_word(weights[stride], 0, 16) >> 16, 16);
    if (storage == FLOAT24) {
        const uint32_t fourth = nearest_word(weights[3 * stride], 0, 8);
        for (int i = 0; i < 3; i++)
            words[i] = nearest_word(weights[i * stride], fourth >> (8 * (i + 1)) & 0xffu, 8);
    }
}

// Writes LANES weights of so many inputs as share words, and says how many bytes they took.
int64_t store(WaveNetStorage storage, const float* row, int64_t stride, char* to) {
    const int count = storage == FLOAT24 ? 3 : 1;
    for (int64_t lane = 0; lane < LANES; lane++) {
        uint32_t words[3] = {};
        words_of(storage, row + lane, stride, words);
        for (int i = 0; i < count; i++) std::memcpy(to + 4 * (i * LANES + lane), words + i, sizeof *words);
    }
    return 4 * LANES * count;
}

inline int64_t matrix_bytes(WaveNetStorage storage, int64_t inputs, int64_t outputs) {
    if (storage == INT8) return byte_strip_bytes(inputs, outputs / LANES);
    return inputs * outputs * (storage == FLOAT24 ? 3 : storage == BFLOAT16 ? 2 : 4);
}

// Packs the dense (inputs, outputs) at `place`, which moves on.
Matrix pack_matrix(WaveNetStorage storage, const float* dense, int64_t inputs, int64_t outputs, char*& place) {
    if (storage == INT8) return pack_bytes(dense, inputs, outputs, place);
    const Matrix matrix = {inputs, outputs, place, nullptr};
    const int64_t step = storage == BFLOAT16 ? 2 : storage == FLOAT24 ? 4 : 1;
    for (int64_t b = 0; b < outputs / LANES;) {
        const int64_t wide = strip_width(outputs / LANES - b);
        for (int64_t k = 0; k < inputs; k += step)
            for (int64_t i = b; i < b + wide; i++)
                place += store(storage, dense + k * outputs + i * LANES, outputs, place);
        b += wide;
    }
    return matrix;
}

// A part of a matrix or of a bias to its place in a wider one.
inline void spread(const float* from, int64_t stride, int64_t rows, int64_t columns, float* to, int64_t width) {
    for (int64_t r = 0; r < rows; r++) std::memcpy(to + r * width, from + r * stride, columns * sizeof(float));
}

// Dense matrices with their widths filled up, one after the other on one sheet of paper.
struct Packer {
    Net& net;
    const WaveNetWeights& weights;
    float* sheet;
    char *place, *tile_place;

    Matrix finish(int64_t inputs, int64_t outputs) {
        Matrix matrix = pack_matrix(net.storage, sheet, inputs, outputs, place);
        matrix.tiles = tile_place;
        if (net.parts) pack_tiles(sheet, inputs, outputs, net.parts, tile_place);
        std::memset(sheet, 0, inputs * outputs * sizeof(float));
        return matrix;
    }

    Matrix tap(int64_t layer, int64_t tap) {
        const WaveNetShape& s = net.shape;
        const float* from = weights.dilated + (layer * s.taps + tap) * s.residual * 2 * s.gate;
        for (int64_t half = 0; half < 2; half++)
            spread(from + half * s.gate, 2 * s.gate, s.residual, s.gate, sheet + half * net.G, 2 * net.G);
        return finish(net.R, 2 * net.G);
    }

    Matrix plain(const float* from, int64_t inputs, int64_t outputs) {
        spread(from, outputs, inputs, outputs, sheet, padded(outputs));
        return finish(padded(inputs), padded(outputs));
    }

    Matrix skip() {
        const WaveNetShape& s = net.shape;
        for (int64_t l = 0; l < s.layers; l++)
            spread(weights.skip + l * s.gate * s.skip, s.skip, s.gate, s.skip, sheet + l * net.G * net.S, net.S);
        return finish(s.layers * net.G, net.S);
    }

    void all() {
        const WaveNetShape& s = net.shape;
        for (int64_t l = 0; l < s.layers; l++)
            for (int64_t t = 0; t < s.taps - 1; t++) net.past[l * (s.taps - 1) + t] = tap(l, t);
        for (int64_t l = 0; l < s.layers; l++) {
            net.now[l] = tap(l, s.taps - 1);
            if (l + 1 < s.layers)
                net.residual[l] = plain(weights.residual + l * s.gate * s.residual, s.gate, s.residual);
        }
        net.skip = skip();
        net.post = plain(weights.post, s.skip, s.post);
        net.last = plain(weights.last, s.post, s.outputs);
        const int64_t entries = s.mixtures ? 2 : s.levels;
        spread(weights.enter, s.residual, entries, s.residual, net.enter, net.R);
        spread(weights.residual_bias, s.residual, s.layers, s.residual, net.residual_bias, net.R);
        spread(weights.skip_bias, s.skip, 1, s.skip, net.skip_bias, net.S);
        spread(weights.post_bias, s.post, 1, s.post, net.post_bias, net.P);
        spread(weights.last_bias, s.outputs, 1, s.outputs, net.last_bias, net.Q);
    }
};

}  // namespace
}  // namespace speechvq
