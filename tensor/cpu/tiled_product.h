// Matrix products of fp32 arrays whose factors are rounded to bf16 on the way to the tile unit (tiles.h). oneDNN 2.6
// has no such product: rounding first writes and reads both factors once more. It reads a weight that was packed once
// at a third of the memory's speed where rows are few (decoding).
#pragma once

#include <span>
#include <vector>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/tiles.h"

namespace thinker::tiles {

/// out (m, n) = or += a (m, k) . b (k, n): a and b^T (n, k) as they lie, one of the strides of each is 1.
void multiply_rounded(float* out, Strided<float> a, Strided<float> b, int64_t m, int64_t n, int64_t k, Write write,
                      Scratch& scratch);

/// packed = weight (n, k), rounded.
void pack_weight(std::byte* packed, const float* weight, int64_t n, int64_t k);

/// out (m, n) = a (m, k) . weight^T for each of the packed weights.
void multiply_weights(std::span<const LinearProduct> products, const float* a, int64_t m, int64_t k, Scratch& scratch);

#if defined(__AMX_BF16__)

/// How a product's sums are written: out is so long that it leaves the caches before anyone reads it. Then they go past
/// the caches, which would read from memory what is overwritten.
inline bool streams(const float* out, int64_t m, int64_t n, Write write) {
  constexpr int64_t kLong = int64_t{1} << 19;  // numbers
  return write == Write::set && m * n >= kLong && n % kSide == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0;
}

/// Columns of tiles: of a's rows, or of b's columns, `column` bytes each.
struct Columns {
  const std::byte *a, *b;
  int64_t column, steps;
};

/// A block of out (rows, columns), at most kBlock of each.
inline void put_block(float* out, int64_t ldo, int64_t rows, int64_t columns, const Columns& from, Write write,
                      bool streamed, const Ahead& ahead) {
  if (!streamed || rows < kBlock || columns < kBlock)
    return multiply_block(out, ldo, std::min(rows, kBlock), std::min(columns, kBlock), from.a, from.column, from.b,
                          from.column, from.steps, write, ahead);
  alignas(64) float sums[kBlock * kBlock];
  multiply_tiles<2, 2>(sums, kBlock, from.a, from.column, from.b, from.column, from.steps, Write::set, ahead);
  for (int64_t i = 0; i < kBlock; ++i)
    for (int64_t j = 0; j < kBlock; j += kSide)
      _mm512_stream_ps(out + i * ldo + j, _mm512_load_ps(sums + i * kBlock + j));
}

/// Packs x (n, depth) with all threads.
template <bool right>
void pack_all(std::byte* packed, Strided<float> x, int64_t n, int64_t depth) {
  parallel_ranges(count(n, kSide), kSide * depth, [&](int64_t begin, int64_t end) {
    pack<right>(packed + begin * packed_bytes(kSide, depth), x.from(begin * kSide, 0),
                std::min(n, end * kSide) - begin * kSide, depth);
  });
}

/// A part of out that one thread computes.
struct PartOfProduct {
  int64_t row_begin, row_end, column_begin, column_end;
};

/// Parts of out (m, n), one a thread: by rows, and where there are too few of these, by columns, too.
inline std::vector<PartOfProduct> parts_of_product(int64_t m, int64_t n, int64_t threads) {
  const int64_t rows = count(m, kBlock), columns = count(n, kBlock);
  const int64_t by_rows = std::min(rows, threads), by_columns = std::min(columns, threads / by_rows);
  std::vector<PartOfProduct> parts;
  for (int64_t i = 0; i < by_rows; ++i)
    for (int64_t j = 0; j < by_columns; ++j)
      parts.push_back({rows * i / by_rows * kBlock, std::min(m, rows * (i + 1) / by_rows * kBlock),
                       columns * j / by_columns * kBlock, std::min(n, columns * (j + 1) / by_columns * kBlock)});
  return parts;
}

/// The depth goes in parts of equal size, so that kRows rows of a and a block's columns of b stay in a core's caches.
inline void multiply_rounded(float* out, Strided<float> a, Strided<float> b, int64_t m, int64_t n, int64_t k,
                             Write write, Scratch& scratch) {
  constexpr int64_t kRows = 256, kDeep = 1536;
  const int64_t depths = count(k, kDeep), deep = count(count(k, depths), kDepth) * kDepth;
  const bool streamed = depths == 1 && streams(out, m, n, write);
  const std::vector<PartOfProduct> parts = parts_of_product(m, n, omp_get_max_threads());
  const int64_t left_bytes = packed_bytes(kRows, deep), count_parts = static_cast<int64_t>(parts.size());
  std::byte* right = scratch.take<std::byte>(packed_bytes(n, deep) + count_parts * left_bytes);
  std::byte* lefts = right + packed_bytes(n, deep);
  for (int64_t at = 0; at < k; at += deep, write = Write::add) {
    const int64_t depth = std::min(deep, k - at), steps = count(depth, kDepth), column = steps * kTile;
    pack_all<true>(right, b.from(0, at), n, depth);
    const auto run = [&](const PartOfProduct& part, std::byte* left) {
      for (int64_t i = part.row_begin; i < part.row_end; i += kRows) {
        const int64_t rows = std::min(kRows, part.row_end - i);
        pack<false>(left, a.from(i, at), rows, depth);
        for (int64_t j = part.column_begin; j < part.column_end; j += kBlock)
          for (int64_t r = 0; r < rows; r += kBlock) {
            float* to = out + (i + r) * n + j;
            const bool asks = !streamed && r + 2 * kBlock <= rows;  // for the next block of out
            put_block(to, n, rows - r, part.column_end - j,
                      {left + r / kSide * column, right + j / kSide * column, column, steps}, write, streamed,
                      Ahead{to + kBlock * n, n * 4, asks ? 2 * kBlock : 0, count(2 * kBlock, steps)});
          }
      }
    };
    parallel_ranges(count_parts, m * n * depth / count_parts, [&](int64_t begin, int64_t end) {
      const Unit unit(true);
      for (int64_t p = begin; p < end; ++p) run(parts[p], lefts + p * left_bytes);
      _mm_sfence();
    });
  }
}

inline void pack_weight(std::byte* packed, const float* weight, int64_t n, int64_t k) {
  pack_all<true>(packed, {weight, k, 1}, n, k);
}

/// out (m, n) at its blocks of columns [begin, end); left: the rows of a. All rows meet a block while it is in the
/// caches, and meanwhile the next one is asked for.
inline void multiply_columns(const LinearProduct& product, const std::byte* left, int64_t m, int64_t k, int64_t begin,
                             int64_t end) {
  const int64_t n = product.n, steps = count(k, kDepth), column = steps * kTile, blocks = count(m, kBlock),
                columns = count(n, kSide);
  float* out = static_cast<float*>(product.out);
  const bool streamed = streams(out, m, n, Write::set);
  for (int64_t j = begin; j < end; ++j) {
    const std::byte* panel = static_cast<const std::byte*>(product.packed) + j * 2 * column;
    const int64_t next = j + 1 < end ? std::min<int64_t>(2, columns - 2 * (j + 1)) * column / 64 : 0;  // lines
    const int64_t share = count(next, blocks);
    for (int64_t i = 0; i < blocks; ++i)
      put_block(
          out + i * kBlock * n + j * kBlock, n, m - i * kBlock, n - j * kBlock,
          {left + i * 2 * column, panel, column, steps}, Write::set, streamed,
          Ahead{panel + 2 * column + i * share * 64, 128, std::min(share, next - i * share), count(share, steps)});
  }
}

inline void multiply_weights(std::span<const LinearProduct> products, const float* a, int64_t m, int64_t k,
                             Scratch& scratch) {
  std::byte* left = scratch.take<std::byte>(packed_bytes(m, k));
  pack_all<false>(left, {a, k, 1}, m, k);
  const auto blocks = [](const LinearProduct& product) { return count(product.n, kBlock); };
  parallel_parts(products, kBlock * k * m, blocks, [&](const LinearProduct& product, int64_t begin, int64_t end) {
    const Unit unit(true);
    multiply_columns(product, left, m, k, begin, end);
    _mm_sfence();
  });
}

#endif  // __AMX_BF16__

}  // namespace thinker::tiles
