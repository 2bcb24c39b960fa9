// What a recipe will take: memory, tokens and time, before it runs; and what a run took of the device's speed.
#pragma once

#include <iosfwd>
#include <string>

#include "nn/memory.h"
#include "tpo/model.h"
#include "tpo/recipe.h"
#include "tpo/run.h"

namespace thinker {

/// What decides the memory of a run of the loop.
struct RunShape {
  TrainingWork training;
  SamplingWork sampling;
  int64_t micro_tokens = 2048;  // rows of one forward in training, a pair being the least
  int64_t pairs = 16;           // an optimizer step
  bool selects = true;          // samples after each epoch, while the optimizer is there, and keeps the best one

  /// Rows of a pair: a prompt as long as the longest, and two completions of max_new.
  int64_t pair_rows() const { return sampling.prompt_length + 2 * sampling.max_new; }
  /// Rows of a micro-batch at most.
  int64_t micro_rows() const;
  /// Sampling as evaluation does it: one sample of each prompt, so that more prompts are there together.
  SamplingWork evaluation() const;
};

struct RunMemory {
  TrainingMemory training;
  SamplingMemory sampling;  // of drawing training samples or of evaluating, whichever takes more, part by part
  /// The most that is in use at once. Activations of training and of sampling share their memory; gradients stay once
  /// they are there; a checkpoint is read beside the weights that it replaces.
  int64_t peak = 0;
};

/// like: as in predict_sampling.
RunMemory predict_run(const Config& config, const RunShape& shape, Backend* like);

/// The shape of a recipe's run on a model, with prompts of at most `prompt_length` tokens.
RunShape run_shape(const Recipe& recipe, const Transformer& net, int64_t prompt_length);

/// Prints tables. Where the peak exceeds `device_bytes` (0: not known), they end with the recipe's keys that lower it,
/// and to what.
void print_memory(std::ostream& out, const Config& config, const RunShape& shape, int64_t device_bytes, Backend* like);
/// longest_prompt: tokens, as check_run_prompts (tpo/run.h) tells them.
void print_plan(std::ostream& out, const Recipe& recipe, const Model& model, int64_t longest_prompt);

/// What fits on GPUs of 24, 80 and 139 GiB: a Markdown table of the loop's peak for models of four sizes.
void print_memory_table(std::ostream& out);

/// One line on the work of everything that the device has computed so far, in `seconds`: its products and the share of
/// the device's own product speed. Empty where the device does not count.
std::string work_done(Device& device, double seconds);

}  // namespace thinker
