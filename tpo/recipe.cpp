#include "tpo/recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/judge.h"
#include "tpo/text.h"
#include "tpo/thought.h"

namespace thinker {

namespace {

/// The values that a number may have, and the words for them.
struct Limits {
  double low, high;
  bool low_allowed;
  std::string words;
  bool hold(double x) const { return (low_allowed ? x >= low : x > low) && x <= high; }
};

constexpr double kMost = 1e9;
Limits at_least(double low) {
  return {low, kMost, true, concat("at least ", low)};
}
Limits above(double low) {
  return {low, kMost, false, concat("above ", low)};
}
Limits within(double low, double high) {
  return {low, high, true, concat("from ", low, " to ", high)};
}
Limits probability() {
  return {0, 1, false, "above 0 and at most 1"};
}

/// visit() calls one of these for every key, in the file's order, with the place where its value lives. Two visitors
/// follow: one reads a JSON object into the struct, one writes the struct as JSON. A third only collects the paths, for
/// "did you mean".
class Reader {
 public:
  Reader(const Json& json, std::string place, std::string path)
      : json_(json), place_(std::move(place)), path_(std::move(path)) {}

  [[noreturn]] void error(const std::string& key, const std::string& reason) const {
    fail(place_, ": ", path_, key, ": ", reason);
  }

  /// The value of a key; null pointer when it is not given. Remembers the key as known.
  const Json* find(const std::string& key) {
    known_.push_back(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  void text(const char* key, std::string& to) {
    if (const Json* value = find(key)) to = string_of(key, *value);
  }
  void flag(const char* key, bool& to) {
    const Json* value = find(key);
    if (value && !value->is_boolean()) error(key, "is not true or false");
    if (value) to = value->get<bool>();
  }
  void number(const char* key, double& to, const Limits& limits) {
    const Json* value = find(key);
    if (value) to = number_of(key, *value, limits);
  }
  void integer(const char* key, int64_t& to, const Limits& limits) {
    const Json* value = find(key);
    if (value && !value->is_number_integer()) error(key, "is not an integer");
    if (value) to = static_cast<int64_t>(number_of(key, *value, limits));
  }
  void seed(const char* key, uint64_t& to) {
    const Json* value = find(key);
    if (value && !value->is_number_unsigned()) error(key, "is not an integer of at least 0");
    if (value) to = value->get<uint64_t>();
  }
  template <class E>
  void choice(const char* key, E& to, const std::vector<std::string>& names) {
    if (const Json* value = find(key)) to = static_cast<E>(index_of(key, string_of(key, *value), names));
  }
  void rho(const char* key, double& to, bool& automatic) {
    const Json* value = find(key);
    if (!value) return;
    automatic = *value == "auto";
    if (value->is_string() && !automatic) error(key, "is a number from 0 to 0.5, or \"auto\"");
    to = automatic ? 0.0 : number_of(key, *value, within(0, 0.5));
  }
  void prompts(const char* key, PromptSource& to) {
    const Json* value = find(key);
    if (!value || value->is_null()) return;
    if (value->is_string()) {
      to = {string_of(key, *value), "", 0};
      return;
    }
    if (!value->is_object()) error(key, "is a file's name or {\"generator\": \"constraints\", \"count\": N}");
    Reader source(*value, place_, path_ + key + ".");
    source.text("generator", to.generator);
    source.integer("count", to.count, within(1, 1e6));
    source.refuse_unknown({});
    if (to.generator != "constraints")
      source.error("generator", "is \"" + excerpt(to.generator) + "\"; the only one is \"constraints\"");
    if (to.count == 0) source.error("count", "is missing");
  }
  void judge(const char* key, Json& to) {
    const Json* value = find(key);
    if (value) to = *value;
    try {
      check_judge(to);
    } catch (const Error& e) {
      fail(place_, ": ", e.what());
    }
  }
  void names(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed) {
    const Json* value = find(key);
    if (!value) return;
    if (!value->is_array()) error(key, "is not a list");
    to.clear();
    for (const Json& item : *value) to.push_back(allowed[index_of(key, string_of(key, item), allowed)]);
  }
  /// The same for a set: some of the words, each once.
  void subset(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed) {
    names(key, to, allowed);
    if (to.empty()) error(key, "is empty");
    for (auto at = to.begin(); at != to.end(); ++at)
      if (std::find(to.begin(), at, *at) != at) error(key, "names \"" + *at + "\" twice");
  }

  /// A nested object. Null, where it is allowed, is told to the caller.
  enum class Section { object, absent, null };
  template <class Body>
  Section section(const char* key, const Body& body, bool null_allowed = false) {
    const Json* value = find(key);
    if (value && value->is_null() && null_allowed) return Section::null;
    if (value && !value->is_object()) error(key, "is not an object");
    static const Json kNothing = Json::object();
    Reader inner(value ? *value : kNothing, place_, path_ + key + ".");
    body(inner);
    inner.refuse_unknown(all_paths_ ? *all_paths_ : std::vector<std::string>{});
    return value ? Section::object : Section::absent;
  }

  /// A nested object, or null (the default) for nothing.
  template <class T, class Body>
  void optional_section(const char* key, std::optional<T>& to, const Body& body) {
    to.emplace();
    if (section(
            key, [&](auto& s) { body(s, *to); }, true) != Section::object)
      to.reset();
  }

  /// all_paths: of the whole recipe, so that a key in the wrong section can be told where it belongs.
  void know_paths(const std::vector<std::string>* all_paths) { all_paths_ = all_paths; }

  void refuse_unknown(const std::vector<std::string>& all_paths) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string meant = path_ + nearest_name(key, known_);
      for (const std::string& path : all_paths)
        if (path == key || path.ends_with("." + key)) meant = path;
      error(excerpt(key), "unknown key; did you mean " + meant + "?");
    }
  }

 private:
  std::string string_of(const char* key, const Json& value) const {
    if (!value.is_string()) error(key, "is not a string");
    if (value.get<std::string>().empty()) error(key, "is empty");
    if (value.get<std::string>().find('\0') != std::string::npos) error(key, "holds a NUL, where names of files end");
    return value.get<std::string>();
  }
  double number_of(const char* key, const Json& value, const Limits& limits) const {
    if (!value.is_number()) error(key, "is not a number");
    const double x = value.get<double>();
    if (!limits.hold(x))
      error(key,
            concat("is ", value.dump(), "; it must be ", limits.words, x > kMost ? " (and not absurdly large)" : ""));
    return x;
  }
  size_t index_of(const char* key, const std::string& word, const std::vector<std::string>& names) const {
    const auto found = std::find(names.begin(), names.end(), word);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    error(key, "\"" + excerpt(word) + "\" is unknown; did you mean \"" + nearest_name(word, names) + "\"?");
  }

  const Json& json_;
  std::string place_, path_;  // path_ ends in a dot, or is empty
  std::vector<std::string> known_;
  const std::vector<std::string>* all_paths_ = nullptr;
};

class Writer {
 public:
  Json json = Json::object();

  void text(const char* key, const std::string& value) { json[key] = value; }
  void flag(const char* key, bool value) { json[key] = value; }
  void number(const char* key, double value, const Limits&) { json[key] = value; }
  void integer(const char* key, int64_t value, const Limits&) { json[key] = value; }
  void seed(const char* key, uint64_t value) { json[key] = value; }
  template <class E>
  void choice(const char* key, E value, const std::vector<std::string>& names) {
    json[key] = names[static_cast<size_t>(value)];
  }
  void rho(const char* key, double value, bool automatic) { json[key] = automatic ? Json("auto") : Json(value); }
  void prompts(const char* key, const PromptSource& source) {
    json[key] = !source.given()            ? Json()
                : source.generator.empty() ? Json(source.file)
                                           : Json{{"generator", source.generator}, {"count", source.count}};
  }
  void judge(const char* key, const Json& value) { json[key] = value; }
  void names(const char* key, const std::vector<std::string>& list, const std::vector<std::string>&) {
    json[key] = list;
  }
  void subset(const char* key, const std::vector<std::string>& list, const std::vector<std::string>&) {
    json[key] = list;
  }
  template <class Body>
  Reader::Section section(const char* key, const Body& body, bool = false) {
    Writer inner;
    body(inner);
    json[key] = inner.json;
    return Reader::Section::object;
  }
  template <class T, class Body>
  void optional_section(const char* key, const std::optional<T>& value, const Body& body) {
    json[key] = nullptr;
    if (value) section(key, [&](auto& s) { body(s, *value); });
  }
};

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
    if (warmup == Reader::Section::null) r.warmup.samples = 0;
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
  Reader reader(json, place, "");
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
  Writer writer;
  visit(recipe, writer);
  return writer.json;
}

}  // namespace thinker
