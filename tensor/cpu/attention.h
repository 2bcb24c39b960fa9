// What forward and backward of the CPU's attention share: the walk over the keys that a segment sees.
#pragma once

#include <algorithm>

#include "tensor/backend.h"
#include "tensor/cpu/parallel.h"
#include "tensor/cpu/product.h"

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
/// from there: none of a band sees more than `visible` keys of the block. One band where all see all of them; on the
/// diagonal narrow ones, so that hardly a score is computed that nobody sees.
template <class Body>
void for_query_bands(const KeyBlock& block, int64_t query, int64_t queries, const Body& body) {
  const int64_t band = block.visible(query) == block.length ? queries : 2 * kTileRows;
  for (int64_t i = 0; i < queries; i += band) {
    const int64_t rows = std::min(band, queries - i), visible = block.visible(query + i + rows - 1);
    if (visible > 0) body(i, rows, visible);
  }
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
