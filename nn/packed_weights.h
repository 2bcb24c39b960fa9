// Copies of a model's matrices in the layout that a device multiplies fastest by few rows, for as long as the weights
// stay as they are: decoding reads every weight at every step.
#pragma once

#include <map>

#include "nn/transformer.h"

namespace thinker {

class PackedWeights {
 public:
  /// Packs every matrix that a forward multiplies by. As much memory again as the weights on the CPU, half of
  /// it where it is kept in bf16; none where the device has no such layout.
  explicit PackedWeights(const Transformer& model);

  /// The packed weight, or null.
  const void* find(const Tensor& weight) const;

 private:
  Tensor memory_;
  std::map<const void*, int64_t> offsets_;  // of a weight's data -> bytes into memory_
};

}  // namespace thinker
