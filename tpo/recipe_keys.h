// How a recipe's keys are read and written. Recipe's visit() (recipe.cpp) names every key once, with the place where
// its value lives; called with a RecipeReader it fills the struct from JSON, with a RecipeWriter it makes the JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tpo/recipe.h"

namespace thinker {

/// The values that a number may have, and the words for them.
struct Limits {
  double low, high;
  bool low_allowed;
  std::string words;
  bool hold(double x) const { return (low_allowed ? x >= low : x > low) && x <= high; }
};

Limits at_least(double low);
Limits above(double low);
Limits within(double low, double high);
Limits probability();

/// What a section's key held. Null is taken where it is allowed, and told to the caller.
enum class SectionWas { object, absent, null };

/// Each member takes a key's value, if it is given, and throws Error "PLACE: path.of.key: reason" if it may not have
/// it.
class RecipeReader {
 public:
  /// path: of the object `json` in the recipe, with a dot behind it; empty for the whole. Both must outlive the reader.
  RecipeReader(const Json& json, std::string place, std::string path = "")
      : json_(json), place_(std::move(place)), path_(std::move(path)) {}

  void text(const char* key, std::string& to);
  void flag(const char* key, bool& to);
  void number(const char* key, double& to, const Limits& limits);
  void integer(const char* key, int64_t& to, const Limits& limits);
  void seed(const char* key, uint64_t& to);
  template <class E>
  void choice(const char* key, E& to, const std::vector<std::string>& names) {
    if (const Json* value = find(key)) to = static_cast<E>(index_of(key, string_of(key, *value), names));
  }
  void rho(const char* key, double& to, bool& automatic);
  void prompts(const char* key, PromptSource& to);
  void judge(const char* key, Json& to);
  void names(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed);
  /// The same for a set: some of the words, each once.
  void subset(const char* key, std::vector<std::string>& to, const std::vector<std::string>& allowed);

  /// A nested object.
  template <class Body>
  SectionWas section(const char* key, const Body& body, bool null_allowed = false) {
    const Json* value = find(key);
    if (value && value->is_null() && null_allowed) return SectionWas::null;
    if (value && !value->is_object()) error(key, "is not an object");
    static const Json kNothing = Json::object();
    RecipeReader inner(value ? *value : kNothing, place_, path_ + key + ".");
    body(inner);
    inner.refuse_unknown(all_paths_ ? *all_paths_ : std::vector<std::string>{});
    return value ? SectionWas::object : SectionWas::absent;
  }
  /// A nested object, or null (the default) for nothing.
  template <class T, class Body>
  void optional_section(const char* key, std::optional<T>& to, const Body& body) {
    to.emplace();
    const SectionWas was = section(
        key, [&](auto& s) { body(s, *to); }, true);
    if (was != SectionWas::object) to.reset();
  }

  /// all_paths: of the whole recipe, so that a key in the wrong section can be told where it belongs.
  void know_paths(const std::vector<std::string>* all_paths) { all_paths_ = all_paths; }
  /// Throws for a key that no member was called with.
  void refuse_unknown(const std::vector<std::string>& all_paths) const;

 private:
  [[noreturn]] void error(const std::string& key, const std::string& reason) const;
  /// The value of a key; null pointer when it is not given. Remembers the key as known.
  const Json* find(const std::string& key);
  std::string string_of(const char* key, const Json& value) const;
  double number_of(const char* key, const Json& value, const Limits& limits) const;
  size_t index_of(const char* key, const std::string& word, const std::vector<std::string>& names) const;

  const Json& json_;
  std::string place_, path_;
  std::vector<std::string> known_;
  const std::vector<std::string>* all_paths_ = nullptr;
};

/// The same members; what a value may be is of no concern here.
class RecipeWriter {
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
  SectionWas section(const char* key, const Body& body, bool = false) {
    RecipeWriter inner;
    body(inner);
    json[key] = inner.json;
    return SectionWas::object;
  }
  template <class T, class Body>
  void optional_section(const char* key, const std::optional<T>& value, const Body& body) {
    json[key] = nullptr;
    if (value) section(key, [&](auto& s) { body(s, *value); });
  }
};

}  // namespace thinker
