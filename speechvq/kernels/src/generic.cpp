// The fused search for any processor: four floats at a time, as SSE2 and NEON have them. Where there is
// nothing of the kind, the compiler writes plain code for it.
#include <cstdint>

#include "kernel.h"

namespace speechvq {
namespace {

constexpr int LANES = 4, CODES = 6;
typedef float Floats __attribute__((vector_size(16), may_alias));
typedef int32_t Ints __attribute__((vector_size(16), may_alias));

inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }

}  // namespace
}  // namespace speechvq

#include "fused.h"

namespace speechvq {
namespace {
bool usable() { return true; }
}  // namespace

const Kernel generic = {"generic", usable, pack, find, release};

}  // namespace speechvq
