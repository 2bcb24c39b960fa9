// Products of small matrices whose factors are rounded to bf16, with sums in fp32, on the processor's tile unit (Intel
// AMX). A tile is 16 rows of 64 bytes; of the unit's eight, four hold sums (2 x 2), two are of the left factor and two
// of the right. They are packed from floats and filled up with zeros. One of the
//   left factor    has 16 rows of 32 numbers, in the order of depth
//   right factor   has 16 columns as words of two numbers: row i holds rows 2i (lower halves) and 2i + 1 of the factor
// Where the compiler may not use such instructions all is declared, and nothing called.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "tensor/cpu/product.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>
#endif

namespace thinker::tiles {

#if defined(__AMX_BF16__)
constexpr bool kCompiled = true;
#else
constexpr bool kCompiled = false;
#endif

constexpr int64_t kSide = 16;          // rows of a tile, and columns of sums
constexpr int64_t kDepth = 32;         // numbers in a row of a tile of the left factor
constexpr int64_t kTile = 1024;        // bytes
constexpr int64_t kBlock = 2 * kSide;  // rows, or columns, of a block of sums

/// Tiles that cover n.
constexpr int64_t count(int64_t n, int64_t side) {
  return (n + side - 1) / side;
}

/// Bytes of a factor of n rows or columns.
constexpr int64_t packed_bytes(int64_t n, int64_t depth) {
  return count(n, kSide) * count(depth, kDepth) * kTile;
}

/// Whether this machine has the unit and lets the program use it, which is asked for once: its registers are large, and
/// Linux saves them only for who wants them.
inline bool has_unit() {
  if constexpr (!kCompiled) return false;
  static const bool granted = [] {
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  }();
  return granted;
}

/// Whether products whose factors are kept as `factor` are the unit's.
inline bool multiplies(DType factor) {
  return factor == DType::BF16 && has_unit();
}

/// Packs a left factor x (n, depth), or with `right` a right one x^T (depth, n): its tiles by n, then by depth. One of
/// the strides of x is 1.
template <bool right>
void pack(std::byte* packed, Strided<float> x, int64_t n, int64_t depth);

/// c (rows, columns) = or += a (rows, depth) . b (depth, columns), both packed; b may be wider and deeper than that,
/// with a depth of depth_b. Inside the life of a Unit.
void multiply(float* c, int64_t ldc, const std::byte* a, const std::byte* b, int64_t rows, int64_t columns,
              int64_t depth, int64_t depth_b, Write write);

#if defined(__AMX_BF16__)

/// Up to 16 numbers at p, as many as are left; the other lanes are 0.
inline __m512 load_some(const float* p, int64_t left) {
  if (left >= 16) return _mm512_loadu_ps(p);
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << std::max<int64_t>(left, 0)) - 1), p);
}

/// Row r of a tile's 16 (out of `rows` at p, ld apart), `depth` numbers of it, as words of neighbours.
inline Vector<float> words_of_row(const float* p, int64_t ld, int64_t r, int64_t rows, int64_t depth) {
  if (r >= rows) return Vector<float>{};
  const float* row = p + r * ld;
  return (Vector<float>)_mm512_cvtne2ps_pbh(load_some(row + 16, depth - 16), load_some(row, depth));
}

/// Columns of rows 2i and 2i + 1 (out of `depth` at p, ld apart), `columns` of them, as words of two.
inline Vector<float> words_of_columns(const float* p, int64_t ld, int64_t i, int64_t depth, int64_t columns) {
  const auto row = [&](int64_t r) { return r < depth ? load_some(p + r * ld, columns) : _mm512_setzero_ps(); };
  alignas(64) static constexpr uint16_t kTurns[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(row(2 * i + 1), row(2 * i));
  return (Vector<float>)_mm512_permutexvar_epi16(_mm512_load_si512(kTurns), both);
}

/// Writes one tile, whose row i is words(i), or, turned, whose word i of every row is.
template <bool turned, class Words>
void pack_tile(std::byte* tile, const Words& words) {
  Vector<float> x[kSide];
  for (int64_t i = 0; i < kSide; ++i) x[i] = words(i);
  if constexpr (turned) transpose_square<float>(x);
  for (int64_t i = 0; i < kSide; ++i) store(reinterpret_cast<float*>(tile + i * 64), x[i]);
}

template <bool right>
void pack(std::byte* packed, Strided<float> x, int64_t n, int64_t depth) {
  const int64_t steps = count(depth, kDepth), groups = count(n, kSide);
  const auto tile = [&](int64_t group, int64_t step) {
    const int64_t i = group * kSide, k = step * kDepth;
    const float* p = x.from(i, k).data;
    std::byte* to = packed + (group * steps + step) * kTile;
    if (x.column == 1)
      pack_tile<right>(to, [&](int64_t r) { return words_of_row(p, x.row, r, n - i, depth - k); });
    else
      pack_tile<!right>(to, [&](int64_t r) { return words_of_columns(p, x.column, r, depth - k, n - i); });
  };
  // In the order in which x lies.
  if (x.column == 1)
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t step = 0; step < steps; ++step) tile(group, step);
  else
    for (int64_t step = 0; step < steps; ++step)
      for (int64_t group = 0; group < groups; ++group) tile(group, step);
}

/// The calling thread's unit, with all tiles at full size, as long as this lives; then as it was (oneDNN may use it,
/// too). Nothing happens where it is not wanted or there is none.
class Unit {
 public:
  explicit Unit(bool wanted) : taken_(wanted && has_unit()) {
    static const Shape kFull = full();
    if (!taken_) return;
    asm volatile("sttilecfg %0" : "=m"(before_));
    asm volatile("ldtilecfg %0" : : "m"(kFull));
  }
  ~Unit() {
    if (taken_) asm volatile("ldtilecfg %0" : : "m"(before_));
  }
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;

 private:
  struct alignas(64) Shape {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  static Shape full() {
    Shape shape = {};
    shape.palette = 1;
    for (int i = 0; i < 8; ++i) {
      shape.row_bytes[i] = 64;
      shape.rows[i] = 16;
    }
    return shape;
  }

  const bool taken_;
  Shape before_;
};

/// Memory that the next products need, asked for in parts while others are multiplied: `lines` of 64 bytes in rows of
/// two.
struct Ahead {
  const void* data = nullptr;
  int64_t apart = 128;  // bytes from one row to the next
  int64_t lines = 0;
  int64_t at_once = 0;  // at a step

  void ask(int64_t step) const {
    const auto* p = static_cast<const std::byte*>(data);
    for (int64_t i = step * at_once; i < std::min((step + 1) * at_once, lines); ++i)
      _mm_prefetch(p + i / 2 * apart + i % 2 * 64, _MM_HINT_T1);
  }
};

/// c (R, C tiles) = or += the products of `steps` tiles of each row of a and each column of b, which lie one after the
/// other; the second row's and column's begin `apart_a` and `apart_b` bytes later.
template <int R, int C>
inline void multiply_tiles(float* c, int64_t ldc, const std::byte* a, int64_t apart_a, const std::byte* b,
                           int64_t apart_b, int64_t steps, Write write, const Ahead& ahead) {
  const auto stride = static_cast<long>(ldc * 4);
  float *c1 = c + kSide * ldc, *c_1 = c + kSide, *c11 = c1 + kSide;
  asm volatile("" : : : "memory");  // g++ 12 does not know that a tile's load reads memory
  if (write == Write::add) {
    _tile_loadd(0, c, stride);
    if constexpr (R == 2) _tile_loadd(1, c1, stride);
    if constexpr (C == 2) _tile_loadd(2, c_1, stride);
    if constexpr (R == 2 && C == 2) _tile_loadd(3, c11, stride);
  } else {
    _tile_zero(0);
    if constexpr (R == 2) _tile_zero(1);
    if constexpr (C == 2) _tile_zero(2);
    if constexpr (R == 2 && C == 2) _tile_zero(3);
  }
  for (int64_t s = 0; s < steps; ++s, a += kTile, b += kTile) {
    ahead.ask(s);
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (R == 2) {
      _tile_loadd(5, a + apart_a, 64);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (C == 2) {
      _tile_loadd(7, b + apart_b, 64);
      _tile_dpbf16ps(2, 4, 7);
    }
    if constexpr (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, stride);
  if constexpr (R == 2) _tile_stored(1, c1, stride);
  if constexpr (C == 2) _tile_stored(2, c_1, stride);
  if constexpr (R == 2 && C == 2) _tile_stored(3, c11, stride);
}

/// The same for the first `rows` rows and `columns` columns of the tiles.
inline void multiply_block(float* c, int64_t ldc, int64_t rows, int64_t columns, const std::byte* a, int64_t apart_a,
                           const std::byte* b, int64_t apart_b, int64_t steps, Write write, const Ahead& ahead = {}) {
  const auto run = [&](float* to, int64_t ld) {
    const auto tiles = [&]<int R, int C>() {
      multiply_tiles<R, C>(to, ld, a, apart_a, b, apart_b, steps, write, ahead);
    };
    if (rows <= kSide) return columns <= kSide ? tiles.template operator()<1, 1>() : tiles.template operator()<1, 2>();
    columns <= kSide ? tiles.template operator()<2, 1>() : tiles.template operator()<2, 2>();
  };
  if (rows % kSide == 0 && columns % kSide == 0) return run(c, ldc);
  alignas(64) float whole[4 * kSide * kSide];
  const auto copy_rows = [&](float* to, int64_t ld_to, const float* from, int64_t ld_from) {
    for (int64_t r = 0; r < rows; ++r) std::copy(from + r * ld_from, from + r * ld_from + columns, to + r * ld_to);
  };
  if (write == Write::add) copy_rows(whole, 2 * kSide, c, ldc);
  run(whole, 2 * kSide);
  copy_rows(c, ldc, whole, 2 * kSide);
}

inline void multiply(float* c, int64_t ldc, const std::byte* a, const std::byte* b, int64_t rows, int64_t columns,
                     int64_t depth, int64_t depth_b, Write write) {
  const int64_t steps = count(depth, kDepth), apart_a = steps * kTile, apart_b = count(depth_b, kDepth) * kTile;
  for (int64_t j = 0; j < columns; j += kBlock)
    for (int64_t i = 0; i < rows; i += kBlock)
      multiply_block(c + i * ldc + j, ldc, std::min(kBlock, rows - i), std::min(kBlock, columns - j),
                     a + i / kSide * apart_a, apart_a, b + j / kSide * apart_b, apart_b, steps, write);
}

#else

struct Unit {
  explicit Unit(bool) {}
};

#endif  // __AMX_BF16__

}  // namespace thinker::tiles
