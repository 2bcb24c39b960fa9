// A weight packed once for the tile unit (tiles.h), for the products of decoding: for few rows oneDNN 2.6 reads its own
// layout at a third of the memory's speed. For out (M, N) = a (M, K) . weight (N, K)^T a panel is two columns of tiles;
// each thread goes through panels of its own, all rows meet a panel while it is in the caches, and meanwhile the next
// one is asked for.
#pragma once

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/tiles.h"

namespace thinker::tiles {

/// packed = weight (n, k), rounded.
void pack_weight(std::byte* packed, const float* weight, int64_t n, int64_t k);

/// out (m, n) = a (m, k), rounded, times the packed weight.
void multiply_weight(float* out, const float* a, const std::byte* packed, int64_t m, int64_t n, int64_t k,
                     Scratch& scratch);

#if defined(__AMX_BF16__)

inline void pack_weight(std::byte* packed, const float* weight, int64_t n, int64_t k) {
  parallel_ranges(count(n, kSide), kSide * k, [&](int64_t begin, int64_t end) {
    pack<true>(packed + begin * packed_bytes(kSide, k), {weight + begin * kSide * k, k, 1},
               std::min(n, end * kSide) - begin * kSide, k);
  });
}

/// The same from packed rows of a.
inline void multiply_packed(float* out, const std::byte* a, const std::byte* packed, int64_t m, int64_t n, int64_t k) {
  const int64_t steps = count(k, kDepth), column = steps * kTile, blocks = count(m, kBlock);
  const int64_t lines = std::max<int64_t>(1, kBlock / blocks);  // of the next panel's 32 a step
  parallel_ranges(count(n, kBlock), kBlock * k * m, [&](int64_t begin, int64_t end) {
    const Unit unit(true);
    for (int64_t j = begin; j < end; ++j) {
      const std::byte* panel = packed + j * 2 * column;
      for (int64_t i = 0; i < blocks; ++i) {
        const bool asks = j + 1 < end && i < kBlock;
        const Ahead ahead{panel + 2 * column + i * steps * lines * 64, asks ? lines : 0};
        multiply_block(out + i * kBlock * n + j * kBlock, n, std::min(kBlock, m - i * kBlock),
                       std::min(kBlock, n - j * kBlock), a + i * 2 * column, column, panel, column, steps, Write::set,
                       ahead);
      }
    }
  });
}

inline void multiply_weight(float* out, const float* a, const std::byte* packed, int64_t m, int64_t n, int64_t k,
                            Scratch& scratch) {
  std::byte* left = scratch.take<std::byte>(packed_bytes(m, k));
  parallel_ranges(count(m, kSide), kSide * k, [&](int64_t begin, int64_t end) {
    pack<false>(left + begin * packed_bytes(kSide, k), {a + begin * kSide * k, k, 1},
                std::min(m, end * kSide) - begin * kSide, k);
  });
  multiply_packed(out, left, packed, m, n, k);
}

#endif  // __AMX_BF16__

}  // namespace thinker::tiles
