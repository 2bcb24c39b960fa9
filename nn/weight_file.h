// Tensors on a device and the files that hold them.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "nn/load.h"

namespace thinker {

using NamedWeights = std::vector<std::pair<std::string, Tensor>>;

/// Copies fp32 values, row-major in the weight's shape and as many as it has numbers, to a weight of F32, F64 or BF16
/// (rounded to nearest) on any device.
void assign(const Tensor& weight, const std::vector<float>& values);

/// Writes the weights as one safetensors file, atomically; value_of gives what is written in a weight's place, made
/// when it is its turn.
void write_weights(const std::string& path, const NamedWeights& weights, StoredAs stored_as,
                   const std::function<Tensor(const Tensor&)>& value_of);

}  // namespace thinker
