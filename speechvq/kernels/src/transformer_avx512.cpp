// The transformer for processors with AVX-512.
#include "transformer_system.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

#include "wavenet_512.h"
#include "wavenet_product.h"
#include "wavenet_gate.h"
#include "transformer_product.h"
#include "transformer_pack.h"
#include "transformer_core.h"

namespace speechvq {
namespace {
bool usable() { return __builtin_cpu_supports("avx512f"); }
}  // namespace

const TransformerKernel transformer_avx512 = {"avx512", usable, pack, step, release};

}  // namespace speechvq
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
namespace speechvq {
const TransformerKernel transformer_avx512 = {"avx512", [] { return false; }, nullptr, nullptr, nullptr};
}
#endif
