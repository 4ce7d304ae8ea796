// The decoder for processors with AVX2 and FMA: 16 registers of 8 floats, of which a step fills 12 with the sums of
// 3 rows x 32 outputs.
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
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

namespace speechvq {
namespace {

constexpr int LANES = 8, STRIP = 4;
typedef float Floats __attribute__((vector_size(32), may_alias));
typedef uint32_t Words __attribute__((vector_size(32), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats splat(float a) { return _mm256_set1_ps(a); }
inline void hold(Floats& w) { __asm__("" : "+x"(w)); }

}  // namespace
}  // namespace speechvq

#include "wavenet_product.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
}  // namespace

const WaveNetKernel wavenet_avx2 = {"avx2", usable, pack, strides, decode, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const WaveNetKernel wavenet_avx2 = {"avx2", [] { return false; }, nullptr, nullptr, nullptr, nullptr};
}
#endif
