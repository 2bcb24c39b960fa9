// Tensors on a device and the files that hold them.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "nn/load.h"

namespace thinker {

using NamedWeights = std::vector<std::pair<std::string, Tensor>>;

/// Gives weights that have no memory yet theirs, one after the other in one piece, each as the dtype beside it. The CPU
/// has that in huge pages, which are read up to 1.6 times as fast as 4 KB ones; a GPU multiplies neighbours of one size
/// in one kernel.
void place_in_one_piece(Device& device, const std::vector<std::pair<Tensor, DType>>& weights);

/// Copies fp32 values, row-major in the weight's shape and as many as it has numbers, to a weight of F32, F64 or BF16
/// (rounded to nearest) on any device.
void assign(const Tensor& weight, const std::vector<float>& values);

/// Writes the weights as one safetensors file, atomically; value_of gives what is written in a weight's place, made
/// when it is its turn.
void write_weights(const std::string& path, const NamedWeights& weights, StoredAs stored_as,
                   const std::function<Tensor(const Tensor&)>& value_of);

}  // namespace thinker
