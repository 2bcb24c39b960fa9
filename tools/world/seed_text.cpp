#include "tools/world/seed_text.h"

#include <array>
#include <cmath>

#include "tensor/rng.h"

namespace thinker::world {

namespace {

/// Thoughts that lead nowhere.
constexpr std::array<const char*, 4> kEmptyPhrases = {"Be clear and short.", "I know this one.", "Let me see.",
                                                      "That is easy."};

/// An answer of the same kind that is wrong in one of three ways.
std::string spoil(Rng& rng, uint64_t seed, int64_t index, const Task& task) {
  const int64_t how = rng.below(3);
  if (how == 0) return "um " + task.answer;
  const size_t end = task.category == Category::fact ? task.answer.find(" and ") : task.answer.size() - 1;
  const bool is_one_word = thinking_helps(task.category) || task.category == Category::max;
  if (how == 1 && !is_one_word) return task.answer.substr(0, end);
  for (int64_t i = 1;; ++i) {
    const std::string other = make_task(seed ^ static_cast<uint64_t>(i), Split::seed, index, task.category).answer;
    if (other != task.answer) return other;
  }
}

Category draw_category(Rng& rng, const SeedMix& mix) {
  const bool thinking = rng.uniform() < mix.thinking_tasks;
  return static_cast<Category>(thinking ? rng.below(kThinkingCategories)
                                        : kThinkingCategories + rng.below(kCategories - kThinkingCategories));
}

}  // namespace

SeedText seed_text(uint64_t seed, int64_t index, const SeedMix& mix) {
  Rng rng(seed, Purpose::corrupt, static_cast<uint32_t>(index));
  const Task task = make_task(seed, Split::seed, index, draw_category(rng, mix));
  const double kind = rng.uniform();
  const bool works = kind < mix.worked, direct = !works && kind < mix.worked + mix.direct;
  const bool useful = works || (!direct && rng.uniform() < mix.useful);
  static const ThoughtStyle kThought = thought_style(), kWorked = worked_style();
  const ThoughtStyle& style = works ? kWorked : kThought;
  const std::string thought = useful ? task.work : kEmptyPhrases[rng.below(kEmptyPhrases.size())];
  const double spoilt = direct || useful ? mix.spoilt : mix.spoilt_after_phrase;
  const std::string answer = rng.uniform() < spoilt ? spoil(rng, seed, index, task) : task.answer;
  const Messages asked = {{"user", task.prompt}};
  if (direct) return {asked, answer};
  return {apply_thought(asked, style), thought + style.split + answer};
}

std::vector<SftExample> seed_examples(const ChatTokenizer& text, uint64_t seed, int64_t count, const SeedMix& mix) {
  std::vector<SftExample> examples(count);
  for (int64_t i = 0; i < count; ++i) {
    const SeedText source = seed_text(seed, i, mix);
    SftExample& example = examples[i];
    example.ids = text.prompt_ids(source.prompt);
    example.trained.assign(example.ids.size(), 0);
    const std::vector<int32_t> completion = text.completion_ids(source.completion);
    example.ids.insert(example.ids.end(), completion.begin(), completion.end());
    example.trained.resize(example.ids.size(), 1);
  }
  return examples;
}

Config seed_config(int64_t vocabulary_size) {
  Config c;
  c.vocab = vocabulary_size;
  c.width = 128;
  c.layers = 3;
  c.heads = c.kv_heads = 4;
  c.head_dim = 32;
  c.ffn = 320;
  c.context = 128;
  c.tied_head = true;
  return c;
}

Transformer new_model(Device& device, const Config& config, uint64_t seed) {
  Transformer model(device, config, DType::F32);
  model.initialise(seed);
  const float factor = 1.0f / (0.02f * std::sqrt(static_cast<float>(model.config().width)));
  model.visit([&](const std::string& name, const Tensor& weight) {
    if (name.ends_with("norm.weight")) return;
    std::vector<float> values = weight.to_host<float>();
    for (float& v : values) v *= factor;
    device.backend().copy_from_host(weight.raw(), values.data(), weight.bytes());
  });
  return model;
}

Transformer new_seed_model(Device& device, int64_t vocabulary_size, uint64_t seed) {
  return new_model(device, seed_config(vocabulary_size), seed);
}

TrainOptions seed_training(uint64_t seed) {
  TrainOptions options;
  options.lr = 3e-3;
  options.schedule = ScheduleKind::cosine;
  options.warmup = 100;
  options.batch = 64;
  options.micro_tokens = 4096;
  options.seed = seed;
  options.adamw.beta2 = 0.99;
  return options;
}

int64_t seed_text_count() {
  return 64 * 2500;
}

}  // namespace thinker::world
