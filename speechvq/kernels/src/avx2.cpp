// The fused search for processors with AVX2 and FMA: 16 registers of 8 floats, of which a step fills 12 with
// scores of 6 codes x 16 rows.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernel.h"

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

constexpr int LANES = 8, CODES = 6;
typedef float Floats __attribute__((vector_size(32), may_alias));
typedef int32_t Ints __attribute__((vector_size(32), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }

}  // namespace
}  // namespace speechvq

#include "fused.h"

namespace speechvq {
namespace {
bool usable() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
}  // namespace

const Kernel avx2 = {"avx2", usable, pack, find, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const Kernel avx2 = {"avx2", [] { return false; }, nullptr, nullptr, nullptr};
}
#endif
