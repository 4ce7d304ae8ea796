// The product of bytes that wavenet_bytes.h asks for, on processors that have no instruction for it.
#pragma once

namespace speechvq {
namespace {

typedef int16_t Shorts __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), may_alias));

// The bytes at even places and those at odd ones; each product fits 16 bits.
inline Words dot(Words sum, Words w, Words x) {
    const Words even = (Words)(((Shorts)(w << 8) >> 8) * (Shorts)(x & 0x00ff00ffu));
    const Words odd = (Words)(((Shorts)w >> 8) * (Shorts)(x >> 8 & 0x00ff00ffu));
    const Ints lower = ((Ints)(even << 16) >> 16) + ((Ints)(odd << 16) >> 16);
    const Ints upper = ((Ints)even >> 16) + ((Ints)odd >> 16);
    return sum + (Words)(lower + upper);
}

}  // namespace
}  // namespace speechvq
