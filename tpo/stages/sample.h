// The sampling stage: K outputs for each prompt under a thought prompt, split into thought and response.
#pragma once

#include <string>
#include <vector>

#include "nn/generate.h"
#include "tpo/model.h"
#include "tpo/progress.h"
#include "tpo/samples.h"

namespace thinker {

/// Whether the model writes the markers by itself, or the sampler writes them for it.
enum class Format { free, forced };

struct SampleStage {
  ThoughtStyle style;
  Format format = Format::free;
  int64_t thought_budget = 96;  // forced: sampled tokens of thought before the response marker is written
  int64_t k = 8;                // samples a prompt
  int64_t first_sample = 0;     // number of the first one
  int64_t max_new = 256;
  int64_t max_rows = 64;  // decoded at the same time
  SamplingOptions sampling;
  uint64_t seed = 0;
  uint32_t iteration = 0;
  std::function<void(const GeneratedSample&)> on_token;  // for streaming
};

/// A prompt to sample from: the user's messages and the number that names it in the random stream.
struct SamplePrompt {
  Json id;
  Messages messages;  // the user's own: the stage adds the thought prompt
  int64_t key = 0;
  std::string place{};  // "FILE:LINE" that it was read from
};

/// Tokens of the longest prompt. Throws Error "FILE:LINE: reason" (or "prompt ID: reason") where a prompt with the
/// thought prompt has no tokens, holds what is not in the model's alphabet, or leaves no room in its context: before
/// anything is drawn, not after hours.
int64_t check_prompts(const Model& model, const std::vector<SamplePrompt>& prompts, const ThoughtStyle& style);

/// All samples, ordered by prompt, then sample. They depend on (seed, iteration, key, sample) and, in the last bits of
/// logits, on which prompts are decoded together.
std::vector<SampleRecord> sample_prompts(const Model& model, const std::vector<SamplePrompt>& prompts,
                                         const SampleStage& stage);

/// The same in chunks of prompts, each appended to PATH.part when it is done; PATH appears when all are. A killed run
/// finds the finished chunks and repeats only the unfinished one, so it ends with the same bytes as an undisturbed one.
/// What another model, other prompts or other options left in PATH.part is thrown away.
std::vector<SampleRecord> sample_to_file(const Model& model, const std::vector<SamplePrompt>& prompts,
                                         const SampleStage& stage, const std::string& path, const Progress& progress);

/// Prompts of a file or generator as the stage wants them; keys count from first_key.
std::vector<SamplePrompt> sample_prompts_of(const std::vector<Prompt>& prompts, int64_t first_key = 0);

}  // namespace thinker
