#include "nn/kv_cache.h"

namespace thinker {

KvCache::KvCache(Device& device, const Config& config, int64_t rows, DType t) {
  ENSURE(rows > 0 && rows < INT32_MAX, "a cache of ", rows, " rows");
  const auto of_layer = [&] {
    return Tensor::empty(device, {rows, config.kv_heads * config.head_dim}, t, "keys and values");
  };
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(of_layer());
    values_.push_back(of_layer());
  }
  free_[0] = rows;
}

std::optional<int32_t> KvCache::reserve(int64_t n) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [begin, length] = *it;
    if (length < n) continue;
    free_.erase(it);
    if (length > n) free_[begin + n] = length - n;
    return static_cast<int32_t>(begin);
  }
  return std::nullopt;
}

void KvCache::release(int32_t begin, int64_t n) {
  auto next = free_.lower_bound(begin);
  ENSURE(next == free_.end() || begin + n <= next->first, "kv cache: rows released twice");
  auto it = free_.emplace_hint(next, begin, n);
  if (next != free_.end() && begin + n == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it == free_.begin()) return;
  auto before = std::prev(it);
  ENSURE(before->first + before->second <= begin, "kv cache: rows released twice");
  if (before->first + before->second == begin) {
    before->second += it->second;
    free_.erase(it);
  }
}

}  // namespace thinker
