// Keys and values of past tokens, by layer, as rows that regions of consecutive rows are reserved from: one region for
// a prompt, which all its samples see as their prefix, and one for each sample.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "nn/config.h"
#include "tensor/tensor.h"

namespace thinker {

class KvCache {
 public:
  /// Room for `rows` tokens in each layer, all free; contents are undefined. Throws Error when rows is not from 1 to
  /// 2^31 - 2.
  KvCache(Device& device, const Config& config, int64_t rows, DType t);

  Tensor keys(int64_t layer) const { return keys_[layer]; }      // (rows, Hkv*D)
  Tensor values(int64_t layer) const { return values_[layer]; }  // (rows, Hkv*D)

  /// The first row of `n` consecutive free rows, which are then taken; nothing when there is no such run. The lowest
  /// that is long enough is taken.
  std::optional<int32_t> reserve(int64_t n);
  /// Frees rows [begin, begin + n). Throws Error when one of them is free already.
  void release(int32_t begin, int64_t n);

 private:
  std::vector<Tensor> keys_, values_;
  std::map<int64_t, int64_t> free_;  // begin -> length, no two adjacent
};

}  // namespace thinker
