// The search for processors with matrix tiles (Intel AMX): bfloat16 products as a filter, with a proof.
//
// A tile product is many times as fast as float32 but rounds x and c to 8 bits. So it comes with a bound e on what
// a score may be off (amx_level.h). First the least score of every 16 codes is found for each row (amx_tiles.h),
// then the codes with score - e <= the least score + e; no other code can be nearest (amx_search.h). A row with
// one such code is done, a few codes are compared by their distances in float64. A row with many (codes closer
// together than 8 bits tell) goes through three products, which are good to 16 bits, and if those do not tell
// either, through a float64 scan (amx_book.h). So the answer is always that of float64, ties to the lowest
// index, whatever the data. `middle` is not used: it cannot change the answer, and a better one is at hand.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "kernel.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && __has_include(<amxbf16intrin.h>)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

#include "amx_level.h"
#include "amx_tiles.h"
#include "amx_search.h"
#include "amx_book.h"

namespace speechvq {
namespace {

// Whether the operating system keeps the tile registers of this process, having asked it to.
bool permitted() {
    constexpr long REQUEST = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

// Whether the operating system keeps the AVX-512 and tile registers at all.
bool kept() {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned NEEDED = 0xe6 | 3u << 17;
    return (low & NEEDED) == NEEDED;
}

bool find_out() {
    unsigned a, b, c, d, more;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    constexpr unsigned AVX512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
    constexpr unsigned TILES = 1u << 22 | 1u << 24;                         // bfloat16 products, tiles
    if ((b & AVX512) != AVX512 || (d & TILES) != TILES) return false;
    if (!__get_cpuid_count(7, 1, &more, &b, &c, &d) || !(more & 1u << 5)) return false;  // bfloat16 vectors
    return kept() && permitted();
}

bool usable() {
    static const bool known = find_out();
    return known;
}

Packed* pack(const float* codes, int64_t K, int64_t D, const float*) {
    return reinterpret_cast<Packed*>(make_book(codes, K, D));
}

void find(const Packed* packed, const float* x, int64_t stride, int64_t rows, int64_t* indices) {
    find_all(*reinterpret_cast<const Book*>(packed), x, stride, rows, indices);
}

void release(Packed* packed) { release_book(reinterpret_cast<Book*>(packed)); }

}  // namespace

const Kernel amx = {"amx", usable, pack, find, release};

}  // namespace speechvq
#else
namespace speechvq {
const Kernel amx = {"amx", [] { return false; }, nullptr, nullptr, nullptr};
}
#endif
