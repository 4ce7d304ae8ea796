// What wavenet_tiles.h offers, for processors without matrix tiles: nothing.
#pragma once

namespace speechvq {
namespace {

constexpr bool TILES = false;

struct Tiles {
    explicit Tiles(bool) {}
};

inline bool tiles_pay(int64_t, int64_t) { return false; }
inline int64_t whole_steps(int64_t inputs) { return inputs; }
inline int64_t tile_bytes(int64_t, int64_t, int64_t) { return 0; }
inline void pack_tiles(const float*, int64_t, int64_t, int64_t, char*&) {}
inline void tile_product(const Matrix&, int64_t, const Rows&, uint16_t*) {}
inline bool byte_tiles_pay(int64_t) { return false; }
inline void tile_byte_product(const Matrix&, const Rows&, const char*) {}

}  // namespace
}  // namespace speechvq
