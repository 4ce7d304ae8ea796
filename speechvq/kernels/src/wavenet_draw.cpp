// See wavenet_draw.h.
#include "wavenet_draw.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace speechvq {

constexpr int64_t RUN = 16;  // chances that are summed before their sum is looked at

int64_t likeliest(const float* values, int64_t count) {
    return std::max_element(values, values + count) - values;
}

float least_of_top(const float* values, int64_t count, int64_t k, float* room) {
    std::copy(values, values + count, room);
    std::nth_element(room, room + k - 1, room + count, std::greater<float>());
    return room[k - 1];
}

void keep_nucleus(float* chances, int64_t count, double top_p, int64_t* room) {
    double total = 0, before = 0;
    for (int64_t q = 0; q < count; q++) {
        room[q] = q;
        total += chances[q];
    }
    // Equals in the order of their places, as a stable sort leaves them.
    std::sort(room, room + count, [chances](int64_t a, int64_t b) {
        return chances[a] != chances[b] ? chances[a] > chances[b] : a < b;
    });
    for (int64_t i = 0; i < count; i++) {
        const double chance = chances[room[i]];
        if (before >= top_p * total) chances[room[i]] = 0;
        before += chance;
    }
}

static double sum(const float* chances, int64_t from, int64_t to) {
    double total = 0;
    for (int64_t q = from; q < to; q++) total += chances[q];
    return total;
}

int64_t reach(const float* chances, int64_t count, double uniform) {
    double total = 0, reached = 0;
    for (int64_t q = 0; q < count; q += RUN) total += sum(chances, q, std::min(q + RUN, count));
    const double wanted = std::min(std::max(uniform, 0.0), 1.0) * total;
    for (int64_t q = 0; q < count; q += RUN) {
        const int64_t end = std::min(q + RUN, count);
        const double after = reached + sum(chances, q, end);
        for (int64_t i = q; i < end && after > wanted; i++)
            if ((reached += chances[i]) > wanted) return i;
        reached = after;
    }
    // Rounding led past all of them: the last that has a chance at all.
    for (int64_t i = count - 1; i > 0; i--)
        if (chances[i] > 0) return i;
    return 0;
}

int64_t logistic_level(const float* outputs, const WaveNetShape& shape, int64_t component, double uniform,
                       const Drawing& drawing) {
    const double mean = outputs[shape.mixtures + component];
    const double scale = std::exp(std::max<double>(outputs[2 * shape.mixtures + component], drawing.floor));
    const double p = std::min(std::max(uniform, 1e-12), 1 - 1e-12);
    const double value = mean + drawing.temperature * scale * std::log(p / (1 - p));
    // Not a number goes nowhere else than the middle.
    const double kept = value == value ? std::min(std::max(value, -1.0), 1.0) : 0.0;
    return std::llrint((kept + 1) / 2 * double(shape.levels - 1));
}

}  // namespace speechvq
