// The two ends of a step, for wavenet_core.h: from a level to what enters the network, and from what it says to a
// level. See wavenet_product.h for what includers define.
#pragma once

namespace speechvq {
namespace {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// What `level` brings into the network, (R).
inline void enter(const Net& net, int64_t level, float* h) {
    const WaveNetShape& s = net.shape;
    if (!s.mixtures) {
        std::memcpy(h, net.enter + level * net.R, net.R * sizeof(float));
        return;
    }
    const float value = float(double(level) / double(s.levels - 1) * 2 - 1);
    for (int64_t r = 0; r < net.R; r++) h[r] = net.enter[r] * value + net.enter[net.R + r];
}

// Draws levels from what a network says; with paper of its own.
struct Dice {
    float *chances, *room;  // (Q)
    int64_t* order;

    void cut(int64_t outputs, Cutter& cutter) {
        cutter.part(chances, outputs);
        cutter.part(room, outputs);
        cutter.part(order, outputs);
    }

    int64_t draw(const WaveNetShape& shape, const Drawing& drawing, const float* logits, const double* uniforms) {
        const int64_t count = shape.mixtures ? shape.mixtures : shape.outputs;
        int64_t drawn = likeliest(logits, count);
        if (drawing.temperature > 0) {
            float least = -__builtin_inff();
            if (drawing.top_k > 0 && drawing.top_k < count) least = least_of_top(logits, count, drawing.top_k, room);
            const float scale = drawing.temperature > 1e-30 ? float(1 / drawing.temperature) : 1e30f;
            exponentials(logits, count, logits[drawn], scale, least, chances);
            if (drawing.top_p < 1) keep_nucleus(chances, count, drawing.top_p, order);
            drawn = reach(chances, count, uniforms[0]);
        }
        return shape.mixtures ? logistic_level(logits, shape, drawn, uniforms[1], drawing) : drawn;
    }
};

}  // namespace
}  // namespace speechvq
