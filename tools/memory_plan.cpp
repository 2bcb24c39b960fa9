// The memory part of a plan.
#include <algorithm>
#include <cstdio>
#include <ostream>

#include "tools/plan.h"
#include "tpo/recipe_stages.h"

namespace thinker {

namespace {

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / (int64_t{1} << 30);
}

void row(std::ostream& out, const std::string& what, int64_t bytes) {
  if (bytes == 0) return;
  char text[160];
  std::snprintf(text, sizeof text, "  %-52s %9.3f\n", what.c_str(), gib(bytes));
  out << text;
}

/// Pairs as long as they can be, and a shorter one that fills the micro-batch up.
Batch micro_batch(const RunShape& shape) {
  Batch batch;
  for (int64_t left = shape.micro_rows(); left >= 3;) {
    const int64_t rows = std::min(left, shape.pair_rows());
    const int64_t completion = std::max<int64_t>(1, shape.sampling.max_new * rows / shape.pair_rows());
    const std::vector<int32_t> prompt(static_cast<size_t>(rows - 2 * completion), 0),
        text(static_cast<size_t>(completion), 0);
    const Batch::Prefix prefix = batch.add_prompt(prompt);
    batch.add_completion(prefix, text);
    batch.add_completion(prefix, text);
    left -= rows;
  }
  return batch;
}

/// A key of the recipe that may save memory, and the shape with it alone.
struct Remedy {
  std::string key;
  RunShape shape;
};

std::vector<Remedy> remedies(const RunShape& shape) {
  std::vector<Remedy> list;
  const auto with = [&](const std::string& key, const auto& change) {
    list.push_back({key, shape});
    change(list.back().shape);
  };
  if (shape.training.recompute == Recompute::nothing)
    with("checkpoint_blocks=true", [](RunShape& s) { s.training.recompute = Recompute::blocks; });
  if (shape.training.state != OptimizerState::eight_bit)
    with("dpo.optimizer_state=8bit", [](RunShape& s) { s.training.state = OptimizerState::eight_bit; });
  if (!shape.training.lora) with("lora.rank=16", [](RunShape& s) { s.training.lora = LoraOptions{.rank = 16}; });
  if (shape.micro_rows() > shape.pair_rows())
    with(concat("dpo.micro_tokens=", shape.pair_rows()), [](RunShape& s) { s.micro_tokens = s.pair_rows(); });
  if (const int64_t half = shape.sampling.max_new / 2; half > 0)
    with(concat("sampling.max_new=", half), [&](RunShape& s) { s.sampling.max_new = half; });
  return list;
}

}  // namespace

int64_t RunShape::micro_rows() const {
  return std::max(pair_rows(), std::min(micro_tokens, pairs * pair_rows()));
}

SamplingWork RunShape::evaluation() const {
  SamplingWork work = sampling;
  work.samples = 1;
  work.prompts = work.max_rows + 2;
  return work;
}

RunMemory predict_run(const Config& config, const RunShape& shape, Backend* like) {
  RunMemory memory{predict_training(config, micro_batch(shape), shape.training),
                   predict_sampling(config, shape.sampling, like)};
  const SamplingMemory evaluating = predict_sampling(config, shape.evaluation(), like);
  memory.sampling.cache = std::max(memory.sampling.cache, evaluating.cache);
  memory.sampling.activations = std::max(memory.sampling.activations, evaluating.activations);
  const TrainingMemory& t = memory.training;
  const int64_t lasting = t.weights + t.gradients + t.activation_gradients +
                          std::max(t.activations, memory.sampling.activations),
                optimizer = t.masters + t.state,
                beside = std::max(memory.sampling.cache + memory.sampling.packed, t.weights);
  memory.peak = lasting + (shape.selects ? optimizer + beside : std::max(optimizer, beside));
  return memory;
}

RunShape run_shape(const Recipe& recipe, const Transformer& net, int64_t prompt_length) {
  RunShape shape;
  shape.training.dtype = shape.sampling.dtype = net.dtype();
  shape.training.state = recipe.dpo.optimizer_state;
  shape.training.lora = recipe.lora;
  shape.training.recompute = recipe.checkpoint_blocks ? Recompute::blocks : Recompute::nothing;
  shape.sampling.samples = recipe.sampling.k;
  shape.sampling.prompt_length = prompt_length;
  shape.sampling.max_rows = sampling_rows(net.parameters());
  shape.sampling.max_new = std::min(recipe.sampling.max_new, net.config().context);  // where an output ends anyway
  // More prompts than can be decoded at once change nothing.
  shape.sampling.prompts = std::min(recipe.prompts_per_iteration, shape.sampling.max_rows / recipe.sampling.k + 2);
  shape.micro_tokens = recipe.dpo.micro_tokens;
  shape.pairs = recipe.dpo.batch;
  shape.selects = recipe.select == Select::judge;
  return shape;
}

void print_memory(std::ostream& out, const Config& config, const RunShape& shape, int64_t device_bytes, Backend* like) {
  const RunMemory memory = predict_run(config, shape, like);
  const TrainingMemory& t = memory.training;
  const Shape logits = logits_tile(shape.micro_rows(), config.vocab, shape.training.dtype);
  out << "memory, GiB\n";
  row(out, concat("weights, ", name(shape.training.dtype)), t.weights);
  row(out, "their gradients, F32", t.gradients);
  row(out, "fp32 copies of the weights, for the optimizer", t.masters);
  row(out, concat("AdamW's moments, ", name(shape.training.state)), t.state);
  row(out, concat("training: activations of ", shape.micro_rows(), " rows"), t.activations);
  row(out, concat("  among them logits, ", logits, " at a time"), logits.numel() * size_of(DType::F32));
  row(out, "training: gradients of activations", t.activation_gradients);
  row(out, concat("sampling: keys and values, ", shape.sampling.max_rows, " rows"), memory.sampling.cache);
  row(out, "sampling: weights in the layout for few rows", memory.sampling.packed);
  row(out, "sampling: activations (in training's place)", memory.sampling.activations);
  row(out, "reading a checkpoint: a second copy of the weights", t.weights);
  row(out, "at most at the same time", memory.peak);
  if (device_bytes == 0) return;
  row(out, "this device has", device_bytes);
  if (memory.peak <= device_bytes) return;
  out << "That does not fit. At most at the same time would be, with one of these:\n";
  for (const Remedy& r : remedies(shape)) row(out, "--set " + r.key, predict_run(config, r.shape, like).peak);
}

}  // namespace thinker
