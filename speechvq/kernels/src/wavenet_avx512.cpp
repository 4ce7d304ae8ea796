// The decoder for processors with AVX-512: 32 registers of 16 floats, of which a step fills 24 with the sums of
// 3 rows x 128 outputs.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "wavenet.h"
#include "wavenet_draw.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
// After the standard headers: what they define inline must still run on any processor.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

namespace speechvq {
namespace {

constexpr int LANES = 16, STRIP = 8;
typedef float Floats __attribute__((vector_size(64), may_alias));
typedef uint32_t Words __attribute__((vector_size(64), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats splat(float a) { return _mm512_set1_ps(a); }
inline void hold(Floats& w) { __asm__("" : "+v"(w)); }


}  // namespace
}  // namespace speechvq

#include "wavenet_product.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() { return __builtin_cpu_supports("avx512f"); }
}  // namespace

const WaveNetKernel wavenet_avx512 = {"avx512", usable, pack, strides, decode, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const WaveNetKernel wavenet_avx512 = {"avx512", [] { return false; }, nullptr, nullptr, nullptr, nullptr};
}
#endif
