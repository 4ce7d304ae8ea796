// The decoder for processors with matrix tiles (Intel AMX): wavenet_avx512.cpp's for few utterances, tiles for many
// where weights are cut to 24 or 16 bits, which is what the tiles' two parts hold.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernel.h"
#include "wavenet.h"
#include "wavenet_draw.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __has_include(<amxbf16intrin.h>)
#include <immintrin.h>
// After the standard headers: what they define inline must still run on any processor.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,avx512f,avx512bf16"))), apply_to = function)
#else
#pragma GCC target("amx-tile,amx-bf16,avx512f,avx512bf16")
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
#include "wavenet_tiles.h"
#include "wavenet_core.h"

namespace speechvq {
namespace {
// The search for codes asks for the same, and the system for its leave.
bool usable() { return amx.usable(); }
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
