// Exponentials for wavenet_core.h: the gate and the chances of a draw. See wavenet_product.h for what includers
// define.
#pragma once

namespace speechvq {
namespace {

inline Floats at_least(Floats x, float bound) { return x < splat(bound) ? splat(bound) : x; }
inline Floats at_most(Floats x, float bound) { return x > splat(bound) ? splat(bound) : x; }

// 2^x for x in [-126, 126], to about 2e-7 of itself: the series of 2^f for the part f in [-1/2, 1/2] that is left
// of the nearest whole number, which goes into the exponent.
inline Floats power_of_two(Floats x) {
    const Floats shifted = x + splat(12582912.0f);  // 1.5 * 2^23: the sum has no digits after the point
    const Floats f = x - (shifted - splat(12582912.0f));
    Floats sum = splat(1.5403530e-4f);
    sum = multiply_add(sum, f, splat(1.3333558e-3f));
    sum = multiply_add(sum, f, splat(9.6181291e-3f));
    sum = multiply_add(sum, f, splat(5.5504109e-2f));
    sum = multiply_add(sum, f, splat(2.4022651e-1f));
    sum = multiply_add(sum, f, splat(6.9314718e-1f));
    sum = multiply_add(sum, f, splat(1.0f));
    return (Floats)((Words)sum + ((Words)shifted << 23));
}

// tanh(a) sigmoid(b) = (1 - e^-2a) / ((1 + e^-2a) (1 + e^-b)), to about 2e-7. Beyond the bounds neither moves.
inline Floats gated(Floats a, Floats b) {
    constexpr float LOG2E = 1.44269504f;
    const Floats d = power_of_two(at_most(at_least(a, -12), 12) * splat(-2 * LOG2E));
    const Floats e = power_of_two(at_most(at_least(b, -40), 40) * splat(-LOG2E));
    const Floats one = splat(1);
    return (one - d) / ((one + d) * (one + e));
}

// chances[q] = e^((values[q] - top) scale), and 0 where values[q] < least. Both up to a multiple of 16.
inline void exponentials(const float* values, int64_t count, float top, float scale, float least, float* chances) {
    for (int64_t b = 0; b * LANES < count; b++) {
        const Floats value = at(values, b);
        const Floats power = power_of_two(at_least((value - splat(top)) * splat(scale * 1.44269504f), -126));
        put(chances, b, value < splat(least) ? splat(0) : power);
    }
}

inline void rectify(float* values, int64_t count) {
    for (int64_t b = 0; b * LANES < count; b++) put(values, b, at_least(at(values, b), 0));
}

}  // namespace
}  // namespace speechvq
