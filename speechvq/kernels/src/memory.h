// Memory for weights. Included before an instruction set is chosen: what is inline must run on any processor.
#pragma once

#include <cstdint>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace speechvq {

constexpr int64_t PAGE = int64_t(2) << 20;  // what a huge page takes, where there are any

inline void* aligned(int64_t bytes) {
    const int64_t to = bytes >= PAGE / 4 ? PAGE : 64;
    void* memory = std::aligned_alloc(to, (bytes + to - 1) / to * to);
#if defined(__linux__)
    // In one huge page the weights do not get in one another's way in the second cache.
    if (memory && to == PAGE) madvise(memory, (bytes + to - 1) / to * to, MADV_HUGEPAGE);
#endif
    return memory;
}

}  // namespace speechvq
