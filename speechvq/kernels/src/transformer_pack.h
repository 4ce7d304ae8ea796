// How the weights of a matrix are laid out for transformer_product.h, which says where what lies.
#pragma once

namespace speechvq {
namespace {

constexpr float WHOLE = 2147475456.0f;  // 2^31 - 2^13: what the largest weight of a stretch becomes
constexpr float LEAST = 1e-20f;         // what the largest is taken for, at least, so that nothing overflows

// floats of the weights of a matrix, packed.
inline int64_t packed_size(int64_t inputs, int64_t outputs) {
    const int64_t rest = inputs % STRETCH;
    return outputs * (inputs / STRETCH * registers(STRETCH) + (rest ? registers(rest) : 0));
}

// The weights of eight inputs, from `tile` (8, wide * LANES), for one register of outputs.
inline void pack_octet(const float* tile, Floats inverse, int64_t wide, float* to) {
    Words of_eight = Words{}, pair = Words{};
    for (int i = 0; i < 8; i++) {
        const Words exact = (Words)__builtin_convertvector(at(tile, i * wide) * inverse, Ints);
        const Words below = (i < 3 ? of_eight << (12 - 4 * i) : of_eight >> (4 * i - 12)) & 0xfff;
        const Words rounded = (Words)((Ints)(exact - below + 2048) >> 12);
        of_eight |= (rounded & 15) << (4 * i);
        const Words highest = rounded >> 4 & 0xffff;
        pair = i % 2 ? pair | highest : highest << 16;
        if (i % 2) put(to, wide * (1 + i / 2), (Floats)pair);
    }
    put(to, 0, (Floats)of_eight);
}

// One stretch of one strip, from `tile` (inputs, wide * LANES). A scale is no number where a weight is none.
inline void pack_stretch(const float* tile, int64_t inputs, int64_t wide, float* to) {
    for (int64_t b = 0; b < wide; b++) {
        Floats most = splat(LEAST), strange = splat(0);
        for (int64_t k = 0; k < inputs; k++) {
            const Floats w = at(tile, k * wide + b), size = w < splat(0) ? -w : w;
            most = size > most ? size : most;
            strange += w - w;
        }
        put(to, b, most / splat(WHOLE) + strange);
        for (int64_t k = 0; k < inputs; k += 8)
            pack_octet(tile + (k * wide + b) * LANES, splat(WHOLE) / most, wide,
                       to + (wide * (1 + k / 8 * OCTET) + b) * LANES);
    }
}

// A matrix (outputs, inputs), as torch has them, into packed_size floats.
inline void pack_matrix(const float* from, int64_t inputs, int64_t outputs, float* to) {
    alignas(64) float tile[STRETCH * BROAD * LANES];
    const int64_t blocks = outputs / LANES;
    for (int64_t b = 0; b < blocks; b += breadth(blocks - b)) {
        const int64_t wide = breadth(blocks - b);
        for (int64_t k = 0; k < inputs; k += STRETCH) {
            const int64_t stretch = inputs - k < STRETCH ? inputs - k : STRETCH;
            for (int64_t i = 0; i < wide * LANES; i++)
                for (int64_t s = 0; s < stretch; s++)
                    tile[s * wide * LANES + i] = from[(b * LANES + i) * inputs + k + s];
            pack_stretch(tile, stretch, wide, to);
            to += registers(stretch) * wide * LANES;
        }
    }
}

}  // namespace
}  // namespace speechvq
