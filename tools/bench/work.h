// The work that `thinker bench` times: texts of random ids in fixed shapes, so that another program can be given the
// same. Every figure is the best of a few repetitions, after one that is not counted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/transformer.h"
#include "tensor/rng.h"

namespace thinker {

/// Best seconds of `repeat` calls, after one that is not counted.
double best_seconds(int64_t repeat, const std::function<void()>& work);

/// GFLOP/s of the device's product, of (M, K) by (N, K) transposed, of numbers as in a model.
double product_speed(Device& device, DType t, int64_t m, int64_t n, int64_t k, int64_t repeat);

bool is_gpu(Device& device);

/// GB/s of copying 1 GiB within the device's memory, reads and writes together.
double copy_speed(Device& device, int64_t repeat);

/// The side of a square product that is large for the device.
int64_t side_of_large_product(Device& device);

/// What shares are of: the faster of two shapes.
double best_product_speed(Device& device, DType t, int64_t repeat);

/// A model of a shape without weights of its own: normal numbers with deviation 0.02, the same million again and again,
/// so that billions take seconds; norms are 1.
Transformer model_of_shape(Device& device, const Config& config, DType t);

std::vector<int32_t> random_ids(Rng& rng, int64_t n, int64_t vocab);

/// `samples` outputs of `new_tokens` for each of `prompts` prompts of 16 tokens, at most `rows` at the same time.
struct Sampling {
  std::string what;
  int64_t rows, prompts, samples, new_tokens;
};

/// Seconds of drawing all of it.
double sampling_seconds(const Transformer& net, const Sampling& work, int64_t repeat);

/// Seconds of a supervised step on sequences of these lengths, all tokens trained but the first. The learning rate is
/// 0: the weights stay as they are.
double sft_step_seconds(Transformer& net, const std::vector<int64_t>& lengths, int64_t micro_tokens, int64_t repeat);

/// thinker bench --scaling: how time and memory grow with sequence length, batch and width, as JSON lines.
void print_scaling(Device& device, DType t, int64_t repeat);

}  // namespace thinker
