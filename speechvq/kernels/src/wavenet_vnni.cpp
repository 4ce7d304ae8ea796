// The decoder for processors with AVX-512 that multiply bytes too (VNNI): called avx512 as well, and asked before that.
#include "wavenet_system.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vnni")
#endif

#include "wavenet_vnni.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
#include "wavenet_tileless.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}
}  // namespace

const WaveNetKernel wavenet_vnni = {"avx512", usable, pack, strides, decode, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const WaveNetKernel wavenet_vnni = {"avx512", [] { return false; }, nullptr, nullptr, nullptr, nullptr};
}
#endif
