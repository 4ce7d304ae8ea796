// Registers of any processor: four floats at a time, as SSE2 and NEON have them. Where there is nothing of the kind,
// the compiler writes plain code for it. See wavenet_product.h.
#pragma once

namespace speechvq {
namespace {

constexpr int LANES = 4, STRIP = 4;
typedef float Floats __attribute__((vector_size(16), may_alias));
typedef uint32_t Words __attribute__((vector_size(16), may_alias));
typedef uint8_t Octets __attribute__((vector_size(4), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats splat(float a) { return Floats{a, a, a, a}; }
inline void hold(Floats&) {}
inline float greatest(Floats x) {
    const float one = x[0] > x[1] ? x[0] : x[1], other = x[2] > x[3] ? x[2] : x[3];
    return one > other ? one : other;
}
inline float total(Floats x) { return (x[0] + x[2]) + (x[1] + x[3]); }
inline Octets lowest_bytes(Words x) { return __builtin_convertvector(x, Octets); }

}  // namespace
}  // namespace speechvq
