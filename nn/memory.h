// How much memory training and sampling will take, told by running them on a device that only counts
// (tensor/dry_backend.h). What a backend needs for itself (libraries, their scratch) is not in it.
#pragma once

#include <optional>

#include "nn/batch.h"
#include "nn/lora.h"
#include "nn/optimizer.h"
#include "nn/transformer.h"

namespace thinker {

struct TrainingWork {
  DType dtype = DType::F32;
  OptimizerState state = OptimizerState::f32;
  Recompute recompute = Recompute::nothing;
  std::optional<LoraOptions> lora = {};  // adapters are trained; none: all weights
};

/// Bytes of training on one micro-batch after another.
struct TrainingMemory {
  int64_t weights = 0;               // adapters included
  int64_t gradients = 0;             // of what is trained
  int64_t masters = 0;               // fp32 copies of what is trained in BF16
  int64_t state = 0;                 // AdamW's moments
  int64_t activations = 0;           // of one micro-batch
  int64_t activation_gradients = 0;  // those that exist at the same time

  int64_t total() const { return weights + gradients + masters + state + activations + activation_gradients; }
};

/// For a step on `batch`, whose log-probs it asks for.
TrainingMemory predict_training(const Config& config, const Batch& batch, const TrainingWork& work);

struct SamplingWork {
  DType dtype = DType::F32;
  int64_t prompts = 8, prompt_length = 128;  // prompts that are sampled together, and their tokens at most
  int64_t samples = 8;                       // of each
  int64_t max_rows = 64, max_new = 256;
};

/// Bytes of sampling beside the weights.
struct SamplingMemory {
  int64_t packed = 0;       // weights in the layout for few rows, on devices that have one
  int64_t cache = 0;        // keys and values
  int64_t activations = 0;  // with the logits of all rows
};

/// like: the backend that will sample, or null for one without packed weights.
SamplingMemory predict_sampling(const Config& config, const SamplingWork& work, Backend* like);

}  // namespace thinker
