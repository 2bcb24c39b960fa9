// Batched decoding on token ids. The samples of one prompt share its keys and values; rows that finish leave the batch
// and waiting ones take their places, some at a time. A draw depends only on (seed, iteration, prompt key, sample,
// step).
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "nn/transformer.h"

namespace thinker {

struct GenerateRequest {
  std::vector<int32_t> prompt;  // ids, not empty
  int64_t key = 0;              // names the prompt in the random stream
  int64_t samples = 1;
  int64_t first_sample = 0;  // samples are numbered from here: a later call can draw more of the same prompt
};

struct GeneratedSample {
  int64_t request = 0;                              // index into the requests
  int64_t sample = 0;                               // number of the sample
  std::vector<int32_t> ids;                         // drawn and forced tokens; the last is an end token when ended
  std::vector<float> logprobs;                      // of ids; natural log, temperature 1, full distribution
  std::vector<std::pair<int64_t, int64_t>> forced;  // runs [begin, end) of ids that were not drawn
  bool ended = false;                               // an end token was drawn; otherwise there was no more room
};

/// What the next token of a sample is to be: one of `force` (taken one after the other), or drawn freely, or drawn
/// among all but the end tokens.
struct NextToken {
  std::vector<int32_t> force = {};
  bool end_is_forbidden = false;
};

struct GenerateOptions {
  int64_t max_new = 256;  // tokens a sample, forced ones included; fewer where the model's context ends before
  int64_t max_rows = 64;  // samples decoded at the same time
  SamplingOptions sampling = {};
  uint64_t seed = 0;
  uint32_t iteration = 0;
  std::vector<int32_t> end_ids = {};
  /// Called before each token of a sample that has nothing left to force; empty means: draw freely.
  std::function<NextToken(const GeneratedSample&)> control = {};
  /// Called after each token.
  std::function<void(const GeneratedSample&)> on_token = {};
};

/// Draws all samples; the result is ordered by request, then sample. Throws Error on a prompt that is empty or fills
/// the model's context, or an id outside the vocabulary.
std::vector<GeneratedSample> generate(const Transformer& model, const std::vector<GenerateRequest>& requests,
                                      const GenerateOptions& options);

}  // namespace thinker
