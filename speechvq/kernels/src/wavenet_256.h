// Registers of AVX2: 16 of 8 floats, of which a step fills 12 with the sums of 3 rows x 32 outputs. See
// wavenet_product.h.
#pragma once

namespace speechvq {
namespace {

constexpr int LANES = 8, STRIP = 4;
typedef float Floats __attribute__((vector_size(32), may_alias));
typedef uint32_t Words __attribute__((vector_size(32), may_alias));
typedef uint8_t Octets __attribute__((vector_size(8), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats splat(float a) { return _mm256_set1_ps(a); }
inline void hold(Floats& w) { __asm__("" : "+x"(w)); }
inline float greatest(Floats x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline float total(Floats x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline Octets lowest_bytes(Words x) {
    const __m256i order = _mm256_set1_epi32(0x0c080400);
    const __m256i four = _mm256_shuffle_epi8((__m256i)x, order);
    const uint32_t both[2] = {uint32_t(_mm256_extract_epi32(four, 0)), uint32_t(_mm256_extract_epi32(four, 4))};
    Octets bytes;
    __builtin_memcpy(&bytes, both, sizeof bytes);
    return bytes;
}

inline Words dot(Words sum, Words w, Words x) {
    const __m256i even = _mm256_srai_epi16((__m256i)(w << 8), 8), odd = _mm256_srai_epi16((__m256i)w, 8);
    const __m256i first = (__m256i)(x & 0x00ff00ffu), second = (__m256i)(x >> 8 & 0x00ff00ffu);
    return sum + (Words)_mm256_madd_epi16(even, first) + (Words)_mm256_madd_epi16(odd, second);
}

}  // namespace
}  // namespace speechvq
