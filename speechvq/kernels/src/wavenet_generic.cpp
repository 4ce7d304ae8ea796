// The decoder for any processor: four floats at a time, as SSE2 and NEON have them. Where there is nothing of the
// kind, the compiler writes plain code for it.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "wavenet.h"
#include "wavenet_draw.h"

namespace speechvq {
namespace {

constexpr int LANES = 4, STRIP = 4;
typedef float Floats __attribute__((vector_size(16), may_alias));
typedef uint32_t Words __attribute__((vector_size(16), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats splat(float a) { return Floats{a, a, a, a}; }
inline void hold(Floats&) {}

}  // namespace
}  // namespace speechvq

#include "wavenet_product.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() { return true; }
}  // namespace

const WaveNetKernel wavenet_generic = {"generic", usable, pack, strides, decode, release};

}  // namespace speechvq
