// The decoder for processors with AVX-512. Those that multiply bytes too (VNNI) take wavenet_vnni.cpp's.
#include "wavenet_system.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

#include "wavenet_512.h"
#include "wavenet_dot.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
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
