// Registers of AVX-512: 32 of 16 floats, of which a step fills 24 with the sums of 3 rows x 128 outputs. See
// wavenet_product.h.
#pragma once

namespace speechvq {
namespace {

constexpr int LANES = 16, STRIP = 8;
typedef float Floats __attribute__((vector_size(64), may_alias));
typedef uint32_t Words __attribute__((vector_size(64), may_alias));
typedef uint8_t Octets __attribute__((vector_size(16), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats splat(float a) { return _mm512_set1_ps(a); }
inline void hold(Floats& w) { __asm__("" : "+v"(w)); }
inline float greatest(Floats x) { return _mm512_reduce_max_ps(x); }
inline float total(Floats x) { return _mm512_reduce_add_ps(x); }
inline Octets lowest_bytes(Words x) { return (Octets)_mm512_cvtepi32_epi8((__m512i)x); }

}  // namespace
}  // namespace speechvq
