// The decoder for processors with matrix tiles (Intel AMX): wavenet_vnni.cpp's for few utterances, tiles for many
// where weights are cut to 24 or 16 bits, which is what the tiles' two parts hold, or are bytes.
#include "wavenet_system.h"
#include "kernel.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __has_include(<amxbf16intrin.h>)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target( \
    "amx-tile,amx-bf16,amx-int8,avx512f,avx512bw,avx512bf16,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("amx-tile,amx-bf16,amx-int8,avx512f,avx512bw,avx512bf16,avx512vnni")
#endif

#include "wavenet_vnni.h"
#include "wavenet_product.h"
#include "wavenet_bytes.h"
#include "wavenet_tiles.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
// The search for codes asks for the same but for products of bytes, and the system for its leave.
bool usable() {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & 1u << 11) || !(d & 1u << 25)) return false;
    return amx.usable();
}
}  // namespace

const WaveNetKernel wavenet_amx = {"amx", usable, pack, strides, decode, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const WaveNetKernel wavenet_amx = {"amx", [] { return false; }, nullptr, nullptr, nullptr, nullptr};
}
#endif
