// What forward and backward of the CPU's attention share: the walk over the keys that a segment sees, and the products
// of its blocks, in T or with factors rounded to bf16.
#pragma once

#include <algorithm>

#include "tensor/backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/tiles.h"

namespace thinker {

/// Scores are computed in tiles of this many queries by as many keys, which stay in the nearest caches.
constexpr int64_t kAttentionTile = 64;

/// Up to kAttentionTile consecutive keys of a segment.
struct KeyBlock {
  int64_t begin;   // first row of k and v
  int64_t length;  // rows
  int64_t first;   // query i of the segment sees the block's keys below i + 1 - first; all of a prefix

  int64_t visible(int64_t query) const { return std::clamp<int64_t>(query + 1 - first, 0, length); }
};

/// Calls body(KeyBlock) for the keys that queries below `query_end` of the segment see: prefix, then own rows.
template <class Body>
void for_key_blocks(const Segment& s, int64_t query_end, const Body& body) {
  for (int64_t j = 0; j < s.prefix_len; j += kAttentionTile)
    body(KeyBlock{s.prefix_begin + j, std::min<int64_t>(kAttentionTile, s.prefix_len - j), -kAttentionTile});
  const int64_t earlier = s.own_len - s.query_len;
  const int64_t own_end = earlier + query_end;
  for (int64_t j = 0; j < own_end; j += kAttentionTile)
    body(KeyBlock{s.own_begin + j, std::min<int64_t>(kAttentionTile, own_end - j), j - earlier});
}

/// Columns of a score tile, filled up to whole vectors.
template <class T>
int64_t padded(int64_t keys) {
  return (keys + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

/// Calls body(first, rows, visible) for bands of consecutive queries out of `queries` from `query` on, first counted
/// from there: none of a band sees more than `visible` keys of the block. One band where all see all of them, or where
/// `rounded` products take many rows at once anyway (0 times a NaN that a later query sees is NaN there); otherwise, on
/// the diagonal, narrow ones, so that hardly a score is computed that nobody sees.
template <class Body>
void for_query_bands(const KeyBlock& block, int64_t query, int64_t queries, bool rounded, const Body& body) {
  const int64_t band = rounded || block.visible(query) == block.length ? queries : 2 * kTileRows;
  for (int64_t i = 0; i < queries; i += band) {
    const int64_t rows = std::min(band, queries - i), visible = block.visible(query + i + rows - 1);
    if (visible > 0) body(i, rows, visible);
  }
}

/// Whether factors may be rounded to bf16. Only the tile unit makes that faster.
template <class T>
constexpr bool kRounds = std::is_same_v<T, float> ? tiles::kCompiled : false;

/// The right factor (depth, cols) of products of blocks, at most kAttentionTile wide or deep: read as it lies, or
/// arranged once for many products.
template <class T>
struct RightFactor {
  const T* data;
  int64_t ld;     // from one row to the next
  int64_t depth;  // as it was rounded and packed (tiles.h); 0: not packed

  /// The factor without its first rows; of a packed one all that are asked for (0).
  RightFactor below(int64_t rows) const { return {data + rows * ld, ld, depth}; }
};

/// Numbers of working space for a right factor with a side of kAttentionTile and another of n.
template <class T>
int64_t right_size(int64_t n) {
  int64_t packed = 0;
  if constexpr (kRounds<T>) packed = tiles::packed_bytes(kAttentionTile, n) / static_cast<int64_t>(sizeof(T));
  return std::max(kAttentionTile * n, packed);
}

/// The factor whose rows lie at b, ldb apart.
template <class T>
RightFactor<T> right_of_rows(T* memory, const T* b, int64_t ldb, int64_t depth, int64_t cols, bool rounded) {
  if constexpr (kRounds<T>)
    if (rounded) {
      tiles::pack<true>(reinterpret_cast<std::byte*>(memory), {b, 1, ldb}, cols, depth);
      return {memory, 0, depth};
    }
  return {b, ldb, 0};
}

/// The factor whose columns, kAttentionTile at most, lie at b, ldb apart. Columns up to a whole vector are 0.
template <class T>
RightFactor<T> right_of_columns(T* memory, const T* b, int64_t ldb, int64_t depth, int64_t cols, bool rounded) {
  if constexpr (kRounds<T>)
    if (rounded) {
      tiles::pack<true>(reinterpret_cast<std::byte*>(memory), {b, ldb, 1}, cols, depth);
      return {memory, 0, depth};
    }
  transpose(memory, kAttentionTile, b, ldb, cols, depth, padded<T>(cols));
  return {memory, kAttentionTile, 0};
}

/// c (rows, cols), rows at most kAttentionTile, by `write`, from a (rows, depth) and the first rows and columns of b.
template <class T>
void multiply(T* c, int64_t ldc, Strided<T> a, const RightFactor<T>& b, int64_t rows, int64_t cols, int64_t depth,
              Write write) {
  if constexpr (kRounds<T>)
    if (b.depth > 0) {
      constexpr int64_t kDepth = 128;  // at once
      alignas(64) std::byte left[tiles::packed_bytes(kAttentionTile, kDepth)];
      const auto* right = reinterpret_cast<const std::byte*>(b.data);
      for (int64_t k = 0; k < depth; k += kDepth, right += kDepth / tiles::kDepth * tiles::kTile) {
        const int64_t part = std::min(kDepth, depth - k);
        tiles::pack<false>(left, a.from(0, k), rows, part);
        tiles::multiply(c, ldc, left, right, rows, cols, part, b.depth, k == 0 ? write : Write::add);
      }
      return;
    }
  multiply(c, ldc, a, b.data, b.ld, rows, cols, depth, write);
}

/// Whether tasks, with their cost in pairs of query and key, are more than one thread does in the time that another
/// needs to wake up.
template <class Tasks>
bool worth_threads(const Tasks& tasks, const AttentionShape& s) {
  int64_t pairs = 0;
  for (const auto& task : tasks) pairs += task.cost;
  return tasks.size() > 1 && pairs * s.head_dim * (s.heads / s.kv_heads) > kGrain;
}

}  // namespace thinker
