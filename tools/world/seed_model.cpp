#include "tools/world/seed_model.h"

#include <cmath>
#include <filesystem>

#include "tensor/check.h"
#include "tpo/fingerprint.h"
#include "tpo/supervised.h"
#include "tpo/text.h"

namespace thinker::world {

namespace {

namespace fs = std::filesystem;

/// Raised when the texts are made in another way: a model of the earlier ones is not theirs.
constexpr int kTextVersion = 4;

/// Calls v(key, value, lowest, highest) for every value of a plan. P is SeedPlan or const SeedPlan.
template <class P, class Visitor>
void visit(P& plan, const Visitor& v) {
  v("worked", plan.mix.worked, 0, 1);
  v("direct", plan.mix.direct, 0, 1);
  v("useful", plan.mix.useful, 0, 1);
  v("spoilt", plan.mix.spoilt, 0, 1);
  v("spoilt_after_useless", plan.mix.spoilt_after_useless, 0, 1);
  v("malformed", plan.mix.malformed, 0, 1);
  v("thinking_tasks", plan.mix.thinking_tasks, 0, 1);
  v("width", plan.width, 32, 4096);
  v("layers", plan.layers, 1, 100);
  v("steps", plan.steps, 1, 1e7);
  v("batch", plan.batch, 1, 1e5);
  v("lr", plan.lr, 0, 1);
}

void train(const std::string& folder, Device& device, const SeedPlan& plan, uint64_t seed, const Progress& progress) {
  ChatTokenizer text{Tokenizer(vocabulary())};
  Transformer net = new_model(device, seed_config(plan, text.tokenizer.vocabulary_size()), seed);
  const std::vector<SftExample> examples = seed_examples(text, seed, plan.steps * plan.batch, plan.mix);
  const auto report = [&](int64_t step) {
    if (progress) progress("train the seed model", step, plan.steps);
  };
  report(0);
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) { report(step.step); };
  train_sft(net, examples, seed_training(plan, seed), hooks);
  const std::string unfinished = folder + ".new";
  fs::remove_all(unfinished);
  Model{std::move(net), std::move(text)}.save(unfinished);
  fs::rename(unfinished, folder);
}

}  // namespace

Json seed_plan_to_json(const SeedPlan& plan) {
  Json json = Json::object();
  visit(plan, [&](const char* key, const auto& value, double, double) { json[key] = value; });
  return json;
}

SeedPlan parse_seed_plan(const Json& json) {
  if (!json.is_object()) fail("seed_model: is not an object");
  SeedPlan plan;
  std::vector<std::string> known;
  visit(plan, [&](const char* key, auto& value, double lowest, double highest) {
    known.push_back(key);
    const auto given = json.find(key);
    if (given == json.end()) return;
    const bool whole = std::is_same_v<decltype(value), int64_t&>;
    if (whole ? !given->is_number_integer() : !given->is_number())
      fail("seed_model.", key, ": is not ", whole ? "an integer" : "a number");
    if (!(given->get<double>() >= lowest && given->get<double>() <= highest))
      fail("seed_model.", key, ": is ", given->dump(), "; it must be from ", lowest, " to ", highest);
    given->get_to(value);
  });
  for (const auto& [key, value] : json.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail("seed_model.", excerpt(key), ": unknown key; did you mean ", nearest_name(key, known), "?");
  if (plan.mix.worked + plan.mix.direct > 1) fail("seed_model: worked and direct are shares; together at most 1");
  if (plan.width % 32 != 0)
    fail("seed_model.width: is ", plan.width, "; it must be a multiple of 32, the heads' width");
  return plan;
}

SeedPlan without_useful_thoughts(SeedPlan plan) {
  plan.mix.worked = 0;
  plan.mix.direct = 0.5;
  plan.mix.useful = 0;
  return plan;
}

Config seed_config(const SeedPlan& plan, int64_t vocabulary_size) {
  Config c;
  c.vocab = vocabulary_size;
  c.width = plan.width;
  c.layers = plan.layers;
  c.head_dim = 32;
  c.heads = c.kv_heads = plan.width / c.head_dim;
  c.ffn = plan.width * 5 / 2;
  c.context = 128;
  c.tied_head = true;
  return c;
}

TrainOptions seed_training(const SeedPlan& plan, uint64_t seed) {
  TrainOptions options;
  options.lr = plan.lr;
  options.schedule = ScheduleKind::cosine;
  options.warmup = 100;
  options.batch = plan.batch;
  options.micro_tokens = 4096;
  options.seed = seed;
  options.adamw.beta2 = 0.99;
  return options;
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

std::string seed_model_in(const std::string& folder, Device& device, const SeedPlan& plan, uint64_t seed,
                          const Progress& progress) {
  Fingerprint made_from;
  made_from.add(seed_plan_to_json(plan).dump()).add(static_cast<double>(kTextVersion)).add(std::to_string(seed));
  const std::string hash = made_from.text();
  const std::string path = folder + "/" + hash.substr(hash.find(':') + 1);
  fs::create_directories(folder);
  if (!fs::exists(path)) train(path, device, plan, seed, progress);
  return path;
}

}  // namespace thinker::world
