// Drawing one token from one row of logits.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/backend.h"

namespace thinker::cpu {

struct DrawnToken {
  int32_t id;
  float logprob;
};

/// One row of Backend::sample. weights (V) is scratch. Throws Error when the logits are not finite.
DrawnToken sample_row(float* weights, std::span<const float> logits, const SampleRow& row,
                      std::span<const int32_t> end_ids, const SamplingOptions& options);

}  // namespace thinker::cpu
