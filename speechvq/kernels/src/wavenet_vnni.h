// Registers of AVX-512 on processors that multiply bytes in them (VNNI).
#pragma once

#include "wavenet_512.h"

namespace speechvq {
namespace {

inline Words dot(Words sum, Words w, Words x) {
    return (Words)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}

}  // namespace
}  // namespace speechvq
