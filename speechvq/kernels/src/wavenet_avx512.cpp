// The decoder for processors with AVX-512 as of Ice Lake and Zen 4: 32 registers of 16 floats, of which a step fills
// 24 with the sums of 3 rows x 128 outputs. Their byte permutation is what reads 24-bit floats in one go; older ones
// are served by AVX2.
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
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vbmi"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vbmi")
#endif

namespace speechvq {
namespace {

constexpr int LANES = 16, STRIP = 8;
typedef float Floats __attribute__((vector_size(64), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats splat(float a) { return _mm512_set1_ps(a); }

alignas(64) constexpr signed char THREE_OF_FOUR[64] = {
    0, 0,  1,  2,  0, 3,  4,  5,  0, 6,  7,  8,  0, 9,  10, 11, 0, 12, 13, 14, 0, 15, 16, 17, 0, 18, 19, 20,
    0, 21, 22, 23, 0, 24, 25, 26, 0, 27, 28, 29, 0, 30, 31, 32, 0, 33, 34, 35, 0, 36, 37, 38, 0, 39, 40, 41,
    0, 42, 43, 44, 0, 45, 46, 47};

// Reads 16 bytes more than it uses.
inline Floats widen24(const char* from) {
    const __m512i order = _mm512_load_si512(THREE_OF_FOUR), bytes = _mm512_loadu_si512(from);
    return (Floats)_mm512_maskz_permutexvar_epi8(0xeeeeeeeeeeeeeeee, order, bytes);
}

}  // namespace
}  // namespace speechvq

#include "wavenet_core.h"

namespace speechvq {
namespace {
bool usable() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vbmi");
}
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
