// The decoder for processors with AVX2 and FMA.
#include "wavenet_system.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include "wavenet_256.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
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
