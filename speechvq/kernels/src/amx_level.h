// A codebook, or rows, as bfloat16 parts: what the tiles multiply, and how far their scores may be off.
//
// With x = h + l + r (h the bfloat16 nearest to x, l the bfloat16 nearest to x - h) a level takes
//   1 product:  x.c ~ h.h', off by at most |x - h||c| + |h||c - h'|                      (about 2^-8 |x||c|)
//   3 products: x.c ~ h.h' + l.h' + h.l', off by at most |l||l'| + |r||c| + |x||r'|      (about 2^-16 |x||c|)
// by Cauchy-Schwarz; the norms are measured, not estimated. What rounding adds in moving to the middle, in
// the half squares and in the sums of float32 is within g (|x||c| + |c|^2), g = `grain`, since each of the
// fewer than width + 16 additions is off by at most 2^-23 of the sum of magnitudes; what is flushed to zero
// is within `tiny`. So with p = |c| the score of a code is off by at most w p + g p^2 + tiny, where w
// belongs to the row. Codes lie in the order of their norms where those differ much, so that the largest p
// among 16 codes is about the p of each.
//
// Legend: K codes, D channels, 16 codes a block, 32 bfloat16 (a step) a line of a tile.
#pragma once

namespace speechvq {
namespace {

constexpr int64_t LANES = 16, STEP = 32, TILE = LANES * STEP;
constexpr float NEVER = 1e38f;  // the score of a place without a code

struct Level {
    int64_t D, K, splits;  // products: 1 or 3
    int64_t width, steps;  // bfloat16 a code, steps a code
    int64_t blocks;        // even
    bool lifted;           // |c|^2/2 lies in three spare places, not in `start`
    float grain, tiny;     // see above
    float rest, low;       // over the codes the largest |c - parts|/|c| and |l|/|c|
    float largest;         // over the codes the largest |c|
    int64_t finite;        // codes that are finite
    uint16_t* parts;       // (blocks, 16, width)
    float* start;          // (blocks, 16 codes, 16 times) |c|^2/2: what the scores start from
    float* reach;          // (blocks, 2) the largest p, and g p^2 + tiny
    int32_t* order;        // (blocks, 16) which code lies there, -1 for none
};

// Sums of squares: of the vector, of what its parts leave, of its second part.
struct Squares {
    float whole, rest, low;
};

template <typename T>
T* lines_of(int64_t count) {
    return static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
}

inline int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

AMX inline __m512 widen(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

AMX inline uint16_t narrow(float value) {
    return uint16_t(_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(value)), 0));
}

// The parts of plus - minus into `out`: [h] or, for three products, [h l h] for a row and [h h l] for a code.
template <bool ROW, bool SPLIT>
AMX inline Squares divide(const float* plus, const float* minus, int64_t D, uint16_t* out) {
    __m512 whole = _mm512_setzero_ps(), rest = whole, low = whole;
    for (int64_t d = 0; d < D; d += LANES) {
        const __mmask16 in = d + LANES <= D ? 0xffff : (1 << (D - d)) - 1;
        const __m512 v =
            _mm512_sub_ps(_mm512_maskz_loadu_ps(in, plus + d), _mm512_maskz_loadu_ps(in, minus + d));
        const __m256i high = (__m256i)_mm512_cvtneps_pbh(v);
        __m512 left = _mm512_sub_ps(v, widen(high));
        _mm256_mask_storeu_epi16(out + d, in, high);
        whole = _mm512_fmadd_ps(v, v, whole);
        if (SPLIT) {
            const __m256i second = (__m256i)_mm512_cvtneps_pbh(left);
            const __m512 l = widen(second);
            left = _mm512_sub_ps(left, l);
            low = _mm512_fmadd_ps(l, l, low);
            _mm256_mask_storeu_epi16(out + D + d, in, ROW ? second : high);
            _mm256_mask_storeu_epi16(out + 2 * D + d, in, ROW ? high : second);
        }
        rest = _mm512_fmadd_ps(left, left, rest);
    }
    return {_mm512_reduce_add_ps(whole), _mm512_reduce_add_ps(rest), _mm512_reduce_add_ps(low)};
}

template <bool ROW>
AMX inline Squares divide(const Level& level, const float* plus, const float* minus, uint16_t* out) {
    std::memset(out + level.splits * level.D, 0, (level.width - level.splits * level.D) * sizeof *out);
    return level.splits == 3 ? divide<ROW, true>(plus, minus, level.D, out)
                             : divide<ROW, false>(plus, minus, level.D, out);
}

// A norm from its sum of squares, never too small: neither by rounding nor by squares flushed to zero.
AMX inline float norm(const Level& level, float square) {
    return std::sqrt(square) * (1 + level.grain) + float(level.D) * 1e-19f;
}

AMX inline bool is_finite(const float* v, int64_t D) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < D; d += LANES) {
        const __mmask16 in = d + LANES <= D ? 0xffff : (1 << (D - d)) - 1;
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(in, v + d), _mm512_setzero_ps(), sum);
    }
    return _mm512_reduce_add_ps(sum) == 0;
}

// Places `half` = |c|^2/2 of the code at `place`, there or in the spare places.
AMX inline void put_half(const Level& level, int64_t place, float half) {
    if (!level.lifted) {
        _mm512_store_ps(level.start + place * LANES, _mm512_set1_ps(half));
        return;
    }
    uint16_t* out = level.parts + place * level.width + level.splits * level.D;
    for (int part = 0; part < 3; part++) {
        out[part] = narrow(half);
        uint32_t bits = uint32_t(out[part]) << 16;
        float taken;
        std::memcpy(&taken, &bits, sizeof taken);
        half -= taken;
    }
}

// Puts the codes into the order of their norms (by place) to an eighth, otherwise as they were: a counting sort
// by the upper bits of the float.
inline bool sort_places(const Level& level, const float* norms) {
    constexpr int BINS = 4096, SHIFT = 20;
    int32_t* starts = static_cast<int32_t*>(std::calloc(BINS + 1 + level.K, sizeof(int32_t)));
    if (!starts) return false;
    int32_t* before = starts + BINS + 1;
    std::memcpy(before, level.order, level.K * sizeof *before);
    const auto bin = [&](int64_t place) {
        uint32_t bits;
        std::memcpy(&bits, norms + place, sizeof bits);
        return bits >> SHIFT;
    };
    for (int64_t i = 0; i < level.K; i++) starts[bin(i) + 1]++;
    for (int b = 0; b < BINS; b++) starts[b + 1] += starts[b];
    for (int64_t i = 0; i < level.K; i++) level.order[starts[bin(i)]++] = before[i];
    std::free(starts);
    return true;
}

// Fills every place from the code that `order` names. `norms`, by place.
AMX inline void fill(Level& level, const float* codes, const float* middle, float* norms) {
    level.rest = level.low = level.largest = 0, level.finite = 0;
    for (int64_t place = 0; place < level.blocks * LANES; place++) {
        const int64_t k = level.order[place];
        uint16_t* out = level.parts + place * level.width;
        Squares squares = {};
        const bool real = k >= 0;
        if (real) squares = divide<false>(level, codes + k * level.D, middle, out);
        const bool finite = real && (std::isfinite(squares.whole) || is_finite(codes + k * level.D, level.D));
        if (!finite) std::memset(out, 0, level.width * sizeof *out), squares = {};
        put_half(level, place, finite ? squares.whole / 2 : NEVER);
        // The floor keeps what may be flushed of the rest small beside p, for a code in the middle too.
        norms[place] = norm(level, squares.whole) + float(level.D) * 1e-14f;
        if (!finite) continue;
        level.finite++;
        level.largest = std::fmax(level.largest, norms[place]);
        level.rest = std::fmax(level.rest, norm(level, squares.rest) / norms[place]);
        level.low = std::fmax(level.low, norm(level, squares.low) / norms[place]);
    }
    for (int64_t b = 0; b < level.blocks; b++) {
        float p = 0;
        for (int64_t i = 0; i < LANES; i++) p = std::fmax(p, norms[b * LANES + i]);
        level.reach[2 * b] = p, level.reach[2 * b + 1] = level.grain * p * p + level.tiny;
    }
}

inline void release_level(Level* level) {
    if (!level) return;
    std::free(level->parts), std::free(level->start), std::free(level->reach), std::free(level->order);
    delete level;
}

// Of `codes` those K that `which` names, or the first K if it is null. Null when memory is out.
AMX inline Level* make_level(const float* codes, const int32_t* which, int64_t K, int64_t D, const float* middle,
                             int64_t splits) {
    Level* level = new (std::nothrow) Level();
    if (!level) return nullptr;
    level->D = D, level->K = K, level->splits = splits;
    level->width = round_up(splits * D, STEP), level->steps = level->width / STEP;
    level->lifted = splits * D + 3 <= level->width;
    level->blocks = round_up(K, 2 * LANES) / LANES;
    level->grain = 1.1f * float(level->width + 16) * 0x1p-23f;
    level->tiny = float(level->width) * 1e-36f;
    const int64_t places = level->blocks * LANES;
    level->parts = lines_of<uint16_t>(places * level->width);
    level->start = lines_of<float>(level->lifted ? 1 : places * LANES);
    level->reach = lines_of<float>(level->blocks * 2);
    level->order = lines_of<int32_t>(places);
    float* norms = lines_of<float>(places);
    if (level->parts && level->start && level->reach && level->order && norms) {
        for (int64_t i = 0; i < places; i++) level->order[i] = i >= K ? -1 : which ? which[i] : int32_t(i);
        fill(*level, codes, middle, norms);
        float smallest = level->largest;
        for (int64_t k = 0; k < K; k++) smallest = std::fmin(smallest, norms[k]);
        if (level->largest > 4 * smallest && sort_places(*level, norms)) fill(*level, codes, middle, norms);
    } else {
        release_level(level), level = nullptr;
    }
    std::free(norms);
    return level;
}

}  // namespace
}  // namespace speechvq
