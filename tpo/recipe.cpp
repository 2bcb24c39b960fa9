#include "tpo/recipe.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/recipe_keys.h"
#include "tpo/text.h"
#include "tpo/thought.h"

namespace thinker {

namespace {

/// Names each key once: name, place, what it may be. R is Recipe or const Recipe.
template <class R, class Visitor>
void visit(R& r, Visitor& v) {
  v.text("name", r.name);
  v.seed("seed", r.seed);
  v.choice("device", r.device, {"auto", "cpu", "cuda"});
  v.choice("dtype", r.dtype, {"auto", "f32", "bf16"});
  v.text("model", r.model);
  v.section("prompts", [&](auto& s) {
    s.prompts("train", r.prompts.train);
    s.prompts("select", r.prompts.select);
    s.prompts("test", r.prompts.test);
  });
  v.text("thought", r.thought);
  v.choice("format", r.format, {"free", "forced"});
  v.integer("thought_budget", r.thought_budget, at_least(1));
  const auto warmup = v.section(
      "warmup",
      [&](auto& s) {
        s.integer("samples", r.warmup.samples, at_least(0));
        s.integer("epochs", r.warmup.epochs, at_least(1));
        s.number("lr", r.warmup.lr, above(0));
      },
      true);
  if constexpr (!std::is_const_v<R>)
    if (warmup == SectionWas::null) r.warmup.samples = 0;
  v.integer("iterations", r.iterations, within(0, 1000));
  v.integer("prompts_per_iteration", r.prompts_per_iteration, at_least(1));
  v.section("sampling", [&](auto& s) {
    s.integer("k", r.sampling.k, within(2, 1024));
    s.number("temperature", r.sampling.temperature, above(0));
    s.number("top_p", r.sampling.top_p, probability());
    s.integer("max_new", r.sampling.max_new, at_least(1));
  });
  v.judge("judge", r.judge);
  v.section("pairs", [&](auto& s) {
    s.rho("rho", r.pairs.options.rho, r.pairs.auto_rho);
    s.choice("length", r.pairs.length, {"chars", "tokens"});
    s.choice("parse_failures", r.pairs.options.parse_failures, {"drop", "reject"});
    s.choice("truncated", r.pairs.options.truncated, {"drop", "reject"});
  });
  v.section("dpo", [&](auto& s) {
    s.choice("loss", r.dpo.options.loss, {"sigmoid", "ipo", "cdpo", "robust"});
    s.number("beta", r.dpo.options.beta, above(0));
    s.number("nll", r.dpo.options.nll, at_least(0));
    s.number("label_smoothing", r.dpo.options.label_smoothing, at_least(0));
    s.choice("reference", r.dpo.reference, {"previous", "seed"});
    s.number("lr", r.dpo.lr, above(0));
    s.choice("schedule", r.dpo.schedule, {"constant", "linear", "cosine"});
    s.integer("warmup", r.dpo.warmup, at_least(0));
    s.integer("batch", r.dpo.batch, at_least(1));
    s.integer("epochs", r.dpo.epochs, at_least(1));
    s.integer("steps", r.dpo.steps, at_least(0));
    s.number("clip", r.dpo.clip, at_least(0));
    s.number("weight_decay", r.dpo.weight_decay, at_least(0));
    s.choice("optimizer_state", r.dpo.optimizer_state, {"f32", "bf16", "8bit"});
    s.integer("micro_tokens", r.dpo.micro_tokens, at_least(1));
  });
  v.optional_section("lora", r.lora, [](auto& s, auto& lora) {
    s.integer("rank", lora.rank, within(1, kGreatestLoraRank));
    s.number("alpha", lora.alpha, above(0));
    s.subset("targets", lora.targets, lora_targets());
  });
  v.flag("checkpoint_blocks", r.checkpoint_blocks);
  v.choice("select", r.select, {"judge", "last"});
  v.section("eval", [&](auto& s) {
    s.number("temperature", r.eval.temperature, at_least(0));
    s.number("top_p", r.eval.top_p, probability());
    s.integer("resample", r.eval.resample, within(0, 100));
  });
  v.names("log", r.log, {"jsonl", "tensorboard"});
}

/// What one key alone cannot tell.
void check_together(const Recipe& r, const std::string& place) {
  const auto error = [&](const auto&... parts) { fail(place, ": ", parts...); };
  if (r.name.empty()) error("name: missing; the run is kept in runs/NAME");
  if (r.name.find('/') != r.name.npos || r.name.starts_with("."))
    error("name: must not hold \"/\" or begin with \".\"");
  if (r.model.empty()) error("model: missing; a Hugging Face folder or a .gguf file");
  if (!r.prompts.train.given())
    error("prompts.train: missing; a file or {\"generator\": \"constraints\", \"count\": N}");
  if (r.select == Select::judge && !r.prompts.select.given())
    error("prompts.select: missing; select \"judge\" needs held-out prompts (or set select to \"last\")");
  if (r.warmup.samples > 0 && r.warmup.samples < kLeastWarmUp)
    error("warmup.samples: is ", r.warmup.samples, "; it must be at least ", kLeastWarmUp, ", or 0 for no warm-up");
  const int64_t needed = r.iterations * r.prompts_per_iteration;
  if (!r.prompts.train.generator.empty() && r.prompts.train.count < needed)
    error("prompts.train.count: is ", r.prompts.train.count, ", but ", r.iterations, " iterations of ",
          r.prompts_per_iteration, " fresh prompts need ", needed);
  // Trap 38: evaluation on what was trained on.
  for (const PromptSource* held_out : {&r.prompts.select, &r.prompts.test})
    if (!held_out->file.empty() && held_out->file == r.prompts.train.file)
      error("prompts: \"", held_out->file, "\" is given for training and for evaluation; hold prompts out");
  try {
    if (!thought_style(r.thought).thinks() && r.format == Format::forced)
      fail("format: \"forced\" needs a thought style; thought is \"", r.thought, "\"");
    check_options(r.dpo.options);
  } catch (const Error& e) {
    error(e.what());
  }
}

void collect_paths(const Json& json, const std::string& prefix, std::vector<std::string>* paths) {
  for (const auto& [key, value] : json.items()) {
    paths->push_back(prefix + key);
    if (value.is_object() && key != "judge") collect_paths(value, prefix + key + ".", paths);
  }
}

}  // namespace

const char* name(DeviceChoice device) {
  return device == DeviceChoice::automatic ? "auto" : device == DeviceChoice::cpu ? "cpu" : "cuda";
}

const char* name(DtypeChoice dtype) {
  return dtype == DtypeChoice::automatic ? "auto" : dtype == DtypeChoice::f32 ? "f32" : "bf16";
}

Recipe parse_recipe(const Json& given, const std::string& place) {
  if (!given.is_object()) fail(place, ": a recipe is a JSON object");
  // A run's own recipe.json says two things more (tpo/provenance.h); it can be run again as it is.
  Json json = given;
  json.erase("version");
  json.erase("inputs");
  std::vector<std::string> paths;
  Recipe with_all_sections;
  with_all_sections.lora.emplace();
  collect_paths(recipe_to_json(with_all_sections), "", &paths);
  Recipe recipe;
  RecipeReader reader(json, place);
  reader.know_paths(&paths);
  visit(recipe, reader);
  reader.refuse_unknown(paths);
  check_together(recipe, place);
  return recipe;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  Json json = parse_settings(path);
  if (!json.is_object()) fail(path, ": a recipe is a JSON object");
  for (const std::string& assignment : overrides) override_key(&json, assignment);
  return parse_recipe(json, path);
}

void override_key(Json* json, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == assignment.npos || equals == 0) fail("--set ", excerpt(assignment), ": write it as dpo.beta=0.05");
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  if (first_invalid_utf8(assignment) >= 0) fail("--set ", excerpt(path), ": is not UTF-8, which JSON needs");
  Json* at = json;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, dot - begin);
    if (key.empty()) fail("--set ", excerpt(assignment), ": a part of the key's path is empty");
    if (at->is_null()) *at = Json::object();
    if (!at->is_object()) fail("--set ", excerpt(assignment), ": ", path.substr(0, begin - 1), " is not an object");
    at = &(*at)[key];
    begin = dot + 1;
  }
  *at = Json::accept(text) ? parse_json(text, "--set " + path) : Json(text);
}

Json recipe_to_json(const Recipe& recipe) {
  RecipeWriter writer;
  visit(recipe, writer);
  return writer.json;
}

}  // namespace thinker
