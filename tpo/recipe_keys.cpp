#include "tpo/recipe_keys.h"

#include <algorithm>

#include "tensor/check.h"
#include "tpo/judge.h"
#include "tpo/text.h"

namespace thinker {

namespace {
constexpr double kMost = 1e9;
}

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

void RecipeReader::error(const std::string& key, const std::string& reason) const {
  fail(place_, ": ", path_, key, ": ", reason);
}

const Json* RecipeReader::find(const std::string& key) {
  known_.push_back(key);
  const auto found = json_.find(key);
  return found == json_.end() ? nullptr : &*found;
}

void RecipeReader::text(const char* key, std::string& to) {
  if (const Json* value = find(key)) to = string_of(key, *value);
}

void RecipeReader::flag(const char* key, bool& to) {
  const Json* value = find(key);
  if (value && !value->is_boolean()) error(key, "is not true or false");
  if (value) to = value->get<bool>();
}

void RecipeReader::number(const char* key, double& to, const Limits& limits) {
  const Json* value = find(key);
  if (value) to = number_of(key, *value, limits);
}

void RecipeReader::integer(const char* key, int64_t& to, const Limits& limits) {
  const Json* value = find(key);
  if (value && !value->is_number_integer()) error(key, "is not an integer");
  if (value) to = static_cast<int64_t>(number_of(key, *value, limits));
}

void RecipeReader::seed(const char* key, uint64_t& to) {
  const Json* value = find(key);
  if (value && !value->is_number_unsigned()) error(key, "is not an integer of at least 0");
  if (value) to = value->get<uint64_t>();
}

void RecipeReader::rho(const char* key, double& to, bool& automatic) {
  const Json* value = find(key);
  if (!value) return;
  automatic = *value == "auto";
  if (value->is_string() && !automatic) error(key, "is a number from 0 to 0.5, or \"auto\"");
  to = automatic ? 0.0 : number_of(key, *value, within(0, 0.5));
}

void RecipeReader::prompts(const char* key, PromptSource& to) {
  const Json* value = find(key);
  if (!value || value->is_null()) return;
  if (value->is_string()) {
    to = {string_of(key, *value), "", 0};
    return;
  }
  if (!value->is_object()) error(key, "is a file's name or {\"generator\": \"constraints\", \"count\": N}");
  RecipeReader source(*value, place_, path_ + key + ".");
  source.text("generator", to.generator);
  source.integer("count", to.count, within(1, 1e6));
  source.refuse_unknown({});
  if (to.generator != "constraints")
    source.error("generator", "is \"" + excerpt(to.generator) + "\"; the only one is \"constraints\"");
  if (to.count == 0) source.error("count", "is missing");
}

void RecipeReader::judge(const char* key, Json& to) {
  const Json* value = find(key);
  if (value) to = *value;
  try {
    check_judge(to);
  } catch (const Error& e) {
    fail(place_, ": ", e.what());
  }
}

void RecipeReader::names(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed) {
  const Json* value = find(key);
  if (!value) return;
  if (!value->is_array()) error(key, "is not a list");
  to.clear();
  for (const Json& item : *value) to.push_back(allowed[index_of(key, string_of(key, item), allowed)]);
}

void RecipeReader::subset(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed) {
  names(key, to, allowed);
  if (to.empty()) error(key, "is empty");
  for (auto at = to.begin(); at != to.end(); ++at)
    if (std::find(to.begin(), at, *at) != at) error(key, "names \"" + *at + "\" twice");
}

void RecipeReader::refuse_unknown(const std::vector<std::string>& all_paths) const {
  for (const auto& [key, value] : json_.items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    std::string meant = path_ + nearest_name(key, known_);
    for (const std::string& path : all_paths)
      if (path == key || path.ends_with("." + key)) meant = path;
    error(excerpt(key), "unknown key; did you mean " + meant + "?");
  }
}

std::string RecipeReader::string_of(const char* key, const Json& value) const {
  if (!value.is_string()) error(key, "is not a string");
  if (value.get<std::string>().empty()) error(key, "is empty");
  if (value.get<std::string>().find('\0') != std::string::npos) error(key, "holds a NUL, where names of files end");
  return value.get<std::string>();
}

double RecipeReader::number_of(const char* key, const Json& value, const Limits& limits) const {
  if (!value.is_number()) error(key, "is not a number");
  const double x = value.get<double>();
  if (!limits.hold(x))
    error(key,
          concat("is ", value.dump(), "; it must be ", limits.words, x > kMost ? " (and not absurdly large)" : ""));
  return x;
}

size_t RecipeReader::index_of(const char* key, const std::string& word, const std::vector<std::string>& names) const {
  const auto found = std::find(names.begin(), names.end(), word);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  error(key, "\"" + excerpt(word) + "\" is unknown; did you mean \"" + nearest_name(word, names) + "\"?");
}

}  // namespace thinker
