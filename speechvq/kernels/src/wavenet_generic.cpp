// The decoder for any processor: four floats at a time, as SSE2 and NEON have them. Where there is nothing of the
// kind, the compiler writes plain code for it.
#include "wavenet_system.h"

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
inline Octets lowest_bytes(Words x) { return __builtin_convertvector(x, Octets); }

}  // namespace
}  // namespace speechvq

#include "wavenet_dot.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() { return true; }
}  // namespace

const WaveNetKernel wavenet_generic = {"generic", usable, pack, strides, decode, release};

}  // namespace speechvq
