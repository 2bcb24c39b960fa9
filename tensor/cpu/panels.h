// A weight in panels of neighbouring columns, for products on processors without AVX-512: for few rows oneDNN 2.6 has
// no layout of its own there, reads a weight at half of the memory's speed and multiplies a wide head at a quarter of
// what the processor can do. For out (M, N) = a (M, K) . weight (N, K)^T a panel has kWide vectors of columns, the last
// one as many as are left, and the last vector is filled up with zeros:
//   float   row 0 of the panel's columns, row 1, ...
//   bf16    rows 0 and 1 as words, row 0 in the lower half of each; rows 2 and 3, ...
// A tile of out stays in registers over the whole depth, and every element is summed in the order of depth: a row has
// the same bits whatever the others are.
#pragma once

#include <bit>
#include <cstring>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/product.h"
#include "tensor/dtype.h"

namespace thinker::panels {

constexpr int kWide = 3;  // 4 x 3 sums, 3 vectors of a weight and a number of a: 16 registers
constexpr int kTall = 4;
constexpr int kLane = static_cast<int>(kLanes<float>);

/// Rows of a weight in one word.
template <class W>
constexpr int kDepth = sizeof(float) / sizeof(W);

/// Words of a vector of columns over the whole depth.
template <class W>
constexpr int64_t vector_words(int64_t k) {
  return (k + kDepth<W> - 1) / kDepth<W> * kLane;
}

/// Vectors of n columns.
constexpr int64_t vectors(int64_t n) {
  return (n + kLane - 1) / kLane;
}

template <class W>
constexpr int64_t bytes(int64_t n, int64_t k) {
  return vectors(n) * vector_words<W>(k) * static_cast<int64_t>(sizeof(float));
}

/// Calls body(begin, end) for ranges of the vectors of n columns, in whole panels, one a thread.
template <class Body>
void for_panels(int64_t n, int64_t cost, const Body& body) {
  parallel_ranges((vectors(n) + kWide - 1) / kWide, kWide * kLane * cost,
                  [&](int64_t begin, int64_t end) { body(begin * kWide, std::min(end * kWide, vectors(n))); });
}

/// packed = weight (n, k), rounded where W is bf16.
template <class W>
void pack(uint32_t* packed, const float* weight, int64_t n, int64_t k) {
  for_panels(n, k, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kWide) {
      const int64_t width = std::min<int64_t>(kWide, end - first) * kLane;
      uint32_t* to = packed + first * vector_words<W>(k);
      for (int64_t row = 0; row < k; row += kDepth<W>, to += width)
        for (int64_t j = 0; j < width; ++j) {
          const float* from = weight + (first * kLane + j) * k + row;
          const auto number = [&](int64_t i) { return first * kLane + j < n && row + i < k ? from[i] : 0.0f; };
          if constexpr (std::is_same_v<W, float>)
            to[j] = std::bit_cast<uint32_t>(number(0));
          else
            to[j] = to_bf16(number(0)).bits | uint32_t{to_bf16(number(1)).bits} << 16;
        }
    }
  });
}

/// Row i of the words at p, as floats.
template <class W>
inline Vector<float> load_row(const uint32_t* p, int i) {
  typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
  Words words;
  std::memcpy(&words, p, sizeof words);
  if constexpr (std::is_same_v<W, float>) return reinterpret_cast<Vector<float>>(words);
  return reinterpret_cast<Vector<float>>(i == 0 ? words << 16 : words & 0xffff0000u);
}

/// out (R, columns), a row every ldo numbers, from R rows of a and P panels of V vectors, `apart` words from each
/// other. There are fewer columns than vectors have lanes in the last panel alone.
template <class W, int R, int P, int V>
void multiply_tile(float* out, int64_t ldo, int64_t columns, const float* a, const uint32_t* panel, int64_t apart,
                   int64_t k) {
  Vector<float> sum[R][P * V] = {};
  for (int64_t row = 0; row < k; row += kDepth<W>, panel += V * kLane)
#pragma GCC unroll 2
    for (int i = 0; i < kDepth<W>; ++i) {
      if (row + i == k) break;
      Vector<float> w[P * V];
#pragma GCC unroll 12
      for (int v = 0; v < P * V; ++v) w[v] = load_row<W>(panel + v / V * apart + v % V * kLane, i);
      // Without this the compiler loads w anew for every row of a, and both rows of a word at once. (Vectors of several
      // panels would not fit into the registers: they are better read where they are multiplied.)
      if constexpr (P == 1) asm volatile("" ::: "memory");
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const float x = a[r * k + row + i];
#pragma GCC unroll 12
        for (int v = 0; v < P * V; ++v) sum[r][v] += x * w[v];
      }
    }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 12
    for (int v = 0; v < P * V; ++v) {
      float* to = out + r * ldo + v * kLane;
      if (columns - v * kLane >= kLane) {
        store(to, sum[r][v]);
      } else {
        float last[kLane];
        store(last, sum[r][v]);
        for (int64_t j = 0; j < columns - v * kLane; ++j) to[j] = last[j];
      }
    }
}

/// out (m, columns), a row every ldo numbers, from a panel of V vectors.
template <class W, int V>
void multiply_panel(float* out, int64_t ldo, int64_t columns, const float* a, const uint32_t* panel, int64_t m,
                    int64_t k) {
  const int64_t tiles = (m + kTall - 1) / kTall;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t i = m * t / tiles;
    const auto tile = [&]<int R>() { multiply_tile<W, R, 1, V>(out + i * ldo, ldo, columns, a + i * k, panel, 0, k); };
    switch (m * (t + 1) / tiles - i) {
      case 4: tile.template operator()<4>(); break;
      case 3: tile.template operator()<3>(); break;
      case 2: tile.template operator()<2>(); break;
      default: tile.template operator()<1>();
    }
  }
}

/// out (m, n) at the columns of the vectors [begin, end), which are whole panels.
template <class W>
void multiply_panels(float* out, const float* a, const uint32_t* packed, int64_t m, int64_t n, int64_t k, int64_t begin,
                     int64_t end) {
  const int64_t words = vector_words<W>(k);
  int64_t first = begin;
  // One or two rows meet several panels at once: their sums fill the registers, and memory is read in several places.
  const auto together = [&]<int R, int P>() {
    for (; first + P * kWide <= end; first += P * kWide)
      multiply_tile<W, R, P, kWide>(out + first * kLane, n, n - first * kLane, a, packed + first * words, kWide * words,
                                    k);
  };
  if (m == 1) together.template operator()<1, 4>();
  if (m == 2) together.template operator()<2, 2>();
  for (; first < end; first += kWide)
    multiply_panel<W, kWide>(out + first * kLane, n, n - first * kLane, a, packed + first * words, m, k);
}

/// out (m, n) = a (m, k) . weight (n, k)^T.
template <class W>
void multiply(float* out, const float* a, const uint32_t* packed, int64_t m, int64_t n, int64_t k) {
  static_assert(kWide == 3);
  for_panels(n, m * k, [&](int64_t begin, int64_t end) {
    const int64_t whole = end - end % kWide;  // begin is a multiple of kWide
    multiply_panels<W>(out, a, packed, m, n, k, begin, whole);
    const auto last = [&]<int V>() {
      multiply_panel<W, V>(out + whole * kLane, n, n - whole * kLane, a, packed + whole * vector_words<W>(k), m, k);
    };
    if (end - whole == 2) last.template operator()<2>();
    if (end - whole == 1) last.template operator()<1>();
  });
}

}  // namespace thinker::panels
