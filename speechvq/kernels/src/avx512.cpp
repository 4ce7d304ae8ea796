// The fused search for processors with AVX-512: 32 registers of 16 floats, of which a step fills 24 with the
// scores of 12 codes x 32 rows, so that its 24 multiply-adds need 14 loads.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernel.h"

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

constexpr int LANES = 16, CODES = 12;
typedef float Floats __attribute__((vector_size(64), may_alias));
typedef int32_t Ints __attribute__((vector_size(64), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

}  // namespace
}  // namespace speechvq

#include "fused.h"

namespace speechvq {
namespace {
bool usable() { return __builtin_cpu_supports("avx512f"); }
}  // namespace

const Kernel avx512 = {"avx512", usable, pack, find, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const Kernel avx512 = {"avx512", [] { return false; }, nullptr, nullptr, nullptr};
}
#endif
