#include "tpo/judges/rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tensor/check.h"
#include "tpo/judges/measure.h"
#include "tpo/judges/regex.h"
#include "tpo/text.h"

namespace thinker {

namespace {

using Holds = std::function<bool(const std::string&)>;

/// The value of one check, with the words that its errors begin with.
class Value {
 public:
  Value(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  const Json& json() const { return json_; }
  [[noreturn]] void error(const std::string& reason) const { fail(where_, ": ", reason); }

  /// For a value that is an object: every key must be one of these.
  void known_options(const std::vector<std::string>& options) const {
    for (const auto& [key, value] : json_.items())
      if (std::find(options.begin(), options.end(), key) == options.end())
        error("unknown option \"" + excerpt(key) + "\"; did you mean \"" + nearest_name(key, options) + "\"?");
  }

  Value option(const char* key) const {
    if (!json_.contains(key)) error(concat("\"", key, "\" is missing"));
    return Value(json_[key], where_ + "." + key);
  }

  std::string text() const {
    if (!json_.is_string() || json_.get<std::string>().empty()) error("a text that is not empty is expected");
    return json_.get<std::string>();
  }

  std::vector<std::string> texts() const {
    if (!json_.is_array()) return {text()};
    if (json_.empty()) error("the list is empty");
    std::vector<std::string> out;
    for (const Json& item : json_) out.push_back(Value(item, where_).text());
    return out;
  }

  int64_t count() const {
    if (!json_.is_number_integer() || json_ < 0 || json_ > 1'000'000) error("a count from 0 to 1000000 is expected");
    return json_.get<int64_t>();
  }

  bool flag() const {
    if (!json_.is_boolean()) error("true or false is expected");
    return json_.get<bool>();
  }

  Case letter_case() const {
    return json_.is_object() && json_.contains("ignore_case") && option("ignore_case").flag() ? Case::ignore
                                                                                              : Case::sensitive;
  }

 private:
  const Json& json_;
  std::string where_;
};

struct Range {
  int64_t low, high;
  bool holds(int64_t n) const { return low <= n && n <= high; }
};

/// "min" and "max" of an object that may have other options.
Range range_options(const Value& value, int64_t low) {
  Range range{low, std::numeric_limits<int64_t>::max()};
  if (value.json().contains("min")) range.low = value.option("min").count();
  if (value.json().contains("max")) range.high = value.option("max").count();
  if (range.low > range.high) value.error("\"min\" is above \"max\"");
  return range;
}

Range exact_or_range(const Value& value) {
  if (!value.json().is_object()) return {value.count(), value.count()};
  value.known_options({"min", "max"});
  if (value.json().empty()) value.error("\"min\" or \"max\" is missing");
  return range_options(value, 0);
}

/// The texts of a check and a pattern for each: they are matched as they are written, at the anchors given.
std::vector<Regex> literal_patterns(const Value& value, const std::string& before, const std::string& after) {
  const bool object = value.json().is_object();
  if (object) value.known_options({"text", "ignore_case"});
  std::vector<Regex> patterns;
  for (const std::string& text : (object ? value.option("text") : value).texts()) {
    patterns.emplace_back(before + Regex::quoted(text) + after, value.letter_case());
  }
  return patterns;
}

Holds any_literal(const Value& value, const char* before, const char* after) {
  return [patterns = literal_patterns(value, before, after)](const std::string& r) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const Regex& p) { return p.found_in(r); });
  };
}

Holds all_literals(const Value& value) {
  return [patterns = literal_patterns(value, "", "")](const std::string& r) {
    return std::all_of(patterns.begin(), patterns.end(), [&](const Regex& p) { return p.found_in(r); });
  };
}

Holds regex(const Value& value) {
  const bool object = value.json().is_object();
  if (object) value.known_options({"pattern", "ignore_case"});
  return [pattern = Regex((object ? value.option("pattern") : value).text(), value.letter_case())](
             const std::string& r) { return pattern.found_in(r); };
}

Holds keyword(const Value& value) {
  const bool object = value.json().is_object();
  if (object) value.known_options({"word", "min", "max"});
  const Range range = object ? range_options(value, value.json().contains("max") ? 0 : 1) : range_options(value, 1);
  return [pattern = Regex(Regex::whole_word((object ? value.option("word") : value).text()), Case::ignore),
          range](const std::string& r) { return range.holds(pattern.count(r)); };
}

Holds forbidden(const Value& value) {
  std::vector<Regex> words;
  for (const std::string& word : value.texts()) words.emplace_back(Regex::whole_word(word), Case::ignore);
  return [words](const std::string& r) {
    return std::none_of(words.begin(), words.end(), [&](const Regex& w) { return w.found_in(r); });
  };
}

/// A count of something in the response, exact or within a range.
template <class Count>
Holds counted(const Value& value, Count count) {
  return [range = exact_or_range(value), count](const std::string& r) { return range.holds(count(r)); };
}

Holds pattern_count(const Value& value, const char* pattern) {
  return counted(value, [pattern = Regex(pattern)](const std::string& r) { return pattern.count(r); });
}

void only_true(const Value& value) {
  if (!value.flag()) value.error("only true is possible; leave the check out to turn it off");
}

Holds must_match(const Value& value, const char* pattern) {
  only_true(value);
  return [pattern = Regex(pattern)](const std::string& r) { return pattern.found_in(r); };
}

Holds must_not_match(const Value& value, const char* pattern) {
  only_true(value);
  return [pattern = Regex(pattern)](const std::string& r) { return !pattern.found_in(r); };
}

Holds one_case(const Value& value, const char* other_case) {
  only_true(value);
  return [letter = Regex("\\p{L}"), other = Regex(other_case)](const std::string& r) {
    return letter.found_in(r) && !other.found_in(r);
  };
}

bool is_json(const std::string& response) {
  static const std::string kFence = "```";
  std::string_view text = trim(response);
  if (text.starts_with(kFence) && text.ends_with(kFence) && text.size() > 2 * kFence.size()) {
    text = text.substr(0, text.size() - kFence.size());
    const size_t first_line = text.find('\n');
    if (first_line == text.npos) return false;
    text.remove_prefix(first_line + 1);
  }
  try {
    parse_json(text, "response");
    return true;
  } catch (const Error&) {
    return false;
  }
}

int64_t number_of_words(const std::string& r) {
  return static_cast<int64_t>(words_of(r).size());
}

using Builder = std::function<Holds(const Value&)>;

/// Every kind of check, by name.
const std::map<std::string, Builder>& builders() {
  static const std::map<std::string, Builder> table = {
      {"exact", [](const Value& v) { return any_literal(v, "\\A", "\\z"); }},
      {"contains", all_literals},
      {"starts_with", [](const Value& v) { return any_literal(v, "\\A", ""); }},
      {"ends_with", [](const Value& v) { return any_literal(v, "", "\\z"); }},
      {"regex", regex},
      {"keyword", keyword},
      {"forbidden", forbidden},
      {"max_words",
       [](const Value& v) -> Holds {
         return [n = v.count()](const std::string& r) { return number_of_words(r) <= n; };
       }},
      {"min_words",
       [](const Value& v) -> Holds {
         return [n = v.count()](const std::string& r) { return number_of_words(r) >= n; };
       }},
      {"sentences", [](const Value& v) { return counted(v, count_sentences); }},
      {"paragraphs", [](const Value& v) { return counted(v, count_paragraphs); }},
      {"lines",
       [](const Value& v) {
         return counted(v, [](const std::string& r) { return static_cast<int64_t>(lines_of(r).size()); });
       }},
      {"bullets", [](const Value& v) { return counted(v, count_bullets); }},
      {"numbered", [](const Value& v) { return counted(v, count_numbered); }},
      {"capital_words", [](const Value& v) { return counted(v, count_capital_words); }},
      {"highlights", [](const Value& v) { return pattern_count(v, "\\*+[^*\\n]*[^*\\s][^*\\n]*\\*+"); }},
      {"placeholders", [](const Value& v) { return pattern_count(v, "\\[[^\\[\\]\\n]*[^\\[\\]\\s][^\\[\\]\\n]*\\]"); }},
      {"no_comma", [](const Value& v) { return must_not_match(v, ","); }},
      {"no_digits", [](const Value& v) { return must_not_match(v, "\\p{Nd}"); }},
      {"no_exclamation", [](const Value& v) { return must_not_match(v, "!"); }},
      {"lowercase", [](const Value& v) { return one_case(v, "[\\p{Lu}\\p{Lt}]"); }},
      {"uppercase", [](const Value& v) { return one_case(v, "\\p{Ll}"); }},
      {"json", [](const Value& v) -> Holds { return only_true(v), is_json; }},
      {"quoted", [](const Value& v) { return must_match(v, "\\A[\"\u201C]\\s*[^\\s\"](?s:.*)[\"\u201D]\\z"); }},
      {"title", [](const Value& v) { return must_match(v, "<<[^<>\\n]*[^<>\\s][^<>\\n]*>>"); }},
      {"postscript", [](const Value& v) { return must_match(v, "(?m)^\\s*P\\.\\s?S\\.?.*\\w"); }},
  };
  return table;
}

void parse_object(std::vector<Check>* checks, const Json& object, const std::string& place) {
  if (!object.is_object()) fail(place, ": a check is an object such as {\"max_words\": 40}, or a list of them");
  double weight = 1;
  if (const auto given = object.find("weight"); given != object.end()) {
    if (!given->is_number()) fail(place, ".weight: not a number");
    weight = given->get<double>();
    if (!(std::isfinite(weight) && weight > 0)) fail(place, ".weight: must be above 0");
  }
  for (const auto& [kind, value] : object.items()) {
    if (kind == "weight") continue;
    const auto builder = builders().find(kind);
    if (builder == builders().end())
      fail(place, ": unknown check \"", excerpt(kind), "\"; did you mean \"", nearest_name(kind, check_kinds()), "\"?");
    const std::string where = place + "." + kind;
    try {
      checks->push_back({kind, weight, builder->second(Value(value, where))});
    } catch (const Error& e) {
      const std::string reason = e.what();
      fail(reason.starts_with(where) ? reason : where + ": " + reason);
    }
  }
}

Judged judge_one(const JudgeView& view) {
  if (view.check().is_null()) return {std::nullopt, "the prompt has no \"check\" for the rule judge", ""};
  const std::vector<Check> checks = parse_checks(view.check(), "\"check\"");
  double met = 0, total = 0;
  std::string unmet;
  for (const Check& check : checks) {
    bool holds = false;
    try {
      holds = check.holds(view.response());
    } catch (const Error& e) {
      return {std::nullopt, e.what(), ""};
    }
    total += check.weight;
    if (holds) met += check.weight;
    if (!holds) unmet += (unmet.empty() ? "not met: " : ", ") + check.kind;
  }
  return {met / total, "", unmet.empty() ? "all met" : unmet};
}

}  // namespace

const std::vector<std::string>& check_kinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names;
    for (const auto& [name, builder] : builders()) names.push_back(name);
    return names;
  }();
  return kinds;
}

std::vector<Check> parse_checks(const Json& check, const std::string& place) {
  std::vector<Check> checks;
  if (check.is_array())
    for (const Json& item : check) parse_object(&checks, item, place);
  else
    parse_object(&checks, check, place);
  if (checks.empty()) fail(place, ": no checks in it");
  return checks;
}

std::vector<Judged> RuleJudge::judge(std::span<const JudgeView> views) {
  std::vector<Judged> results;
  results.reserve(views.size());
  for (const JudgeView& view : views) results.push_back(judge_one(view));
  return results;
}

}  // namespace thinker
