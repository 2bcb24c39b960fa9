#include "tpo/judges/rule.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tpo/judges/check_value.h"
#include "tpo/judges/measure.h"
#include "tpo/judges/regex.h"
#include "tpo/parallel.h"
#include "tpo/text.h"

namespace thinker {

namespace {

using Holds = std::function<bool(const std::string&)>;

using Value = CheckValue;

Case letter_case(const Value& value) {
  return value.json().is_object() && value.json().contains("ignore_case") && value.option("ignore_case").flag()
             ? Case::ignore
             : Case::sensitive;
}

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
    patterns.emplace_back(before + Regex::quoted(text) + after, letter_case(value));
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
  return [pattern = Regex((object ? value.option("pattern") : value).text(), letter_case(value))](
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
      checks->push_back({kind,
                         weight,
                         [holds = builder->second(Value(value, where))](const std::string& r) {
                           return holds(r) ? Met::yes : Met::no;
                         },
                         {}});
    } catch (const Error& e) {
      const std::string reason = e.what();
      fail(reason.starts_with(where) ? reason : where + ": " + reason);
    }
  }
}

/// A normal number that is the same whenever this response to this prompt is judged.
double noise_of(const JudgeView& view, uint64_t seed) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (unsigned char c : dump_json(view.to_json())) hash = (hash ^ c) * 0x100000001B3u;
  return Rng(seed, Purpose::judge_noise, static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)).normal();
}

/// "KIND", and what the loose test says where that is another thing than the strict one's `met`.
std::string name_with_loose(const Check& check, const std::string& response, Met met) {
  const Met loosely = check.loosely ? check.loosely(response) : met;
  if (loosely == met) return check.kind;
  return check.kind + (loosely == Met::yes ? " (loosely met)" : " (loosely undecided)");
}

Judged judge_one(const JudgeView& view, const RuleKnobs& knobs) {
  if (view.check().is_null()) return {std::nullopt, "the prompt has no \"check\" for the rule judge", ""};
  const std::string response = valid_utf8(view.response());
  double share = 0, total = 0;
  std::string unmet, undecided;
  const std::vector<Check> checks = parse_checks(view.check(), "\"check\"");
  try {
    for (const Check& check : checks) {
      const Met met = check.met(response);
      if (met != Met::undecided) total += check.weight;
      if (met == Met::yes) share += check.weight;
      if (met == Met::no) unmet += (unmet.empty() ? "not met: " : ", ") + name_with_loose(check, response, met);
      if (met == Met::undecided)
        undecided += (undecided.empty() ? "undecided: " : ", ") + name_with_loose(check, response, met);
    }
  } catch (const Error& e) {
    return {std::nullopt, e.what(), ""};
  }
  if (total == 0) return {std::nullopt, undecided, ""};
  // Equal weights that are met by other checks are added up in another order: they must not differ in the last bit.
  double score = std::round(share / total * 1e12) / 1e12;
  if (knobs.length_bias != 0) score += knobs.length_bias * static_cast<double>(count_code_points(response)) / 1000;
  if (knobs.noise != 0) score += knobs.noise * noise_of(view, knobs.seed);
  if (!std::isfinite(total) || !std::isfinite(score))
    return {std::nullopt, "the score is not finite: the checks' weights, length_bias or noise are too large", ""};
  const char* between = !unmet.empty() && !undecided.empty() ? "; " : "";
  const std::string answer = unmet + between + undecided;
  return {score, "", answer.empty() ? "all met" : answer};
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
  if (ifeval::is_ifeval(check)) {
    for (const ifeval::Instruction& i : ifeval::parse_instructions(check, place))
      checks.push_back({i.id, 1, [i](const std::string& r) { return ifeval::strict(i, r); },
                        [i](const std::string& r) { return ifeval::loose(i, r); }});
    return checks;
  }
  if (check.is_array())
    for (const Json& item : check) parse_object(&checks, item, place);
  else
    parse_object(&checks, check, place);
  if (checks.empty()) fail(place, ": no checks in it");
  return checks;
}

std::vector<Judged> RuleJudge::judge(std::span<const JudgeView> views, const OnJudged&) {
  return parallel_map(static_cast<int64_t>(views.size()), [&](int64_t i) { return judge_one(views[i], knobs_); });
}

RuleKnobs parse_rule_knobs(const Json& recipe) {
  const std::vector<std::string> keys = {"kind", "length_bias", "noise", "seed"};
  for (const auto& [key, value] : recipe.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail("judge.", excerpt(key), ": unknown key; did you mean judge.", nearest_name(key, keys), "?");
  RuleKnobs knobs;
  if (recipe.contains("length_bias")) {
    if (!recipe["length_bias"].is_number()) fail("judge.length_bias: not a number");
    knobs.length_bias = recipe["length_bias"].get<double>();
  }
  if (recipe.contains("noise")) {
    if (!recipe["noise"].is_number() || !(recipe["noise"] >= 0)) fail("judge.noise: must be a number from 0");
    knobs.noise = recipe["noise"].get<double>();
  }
  if (recipe.contains("seed")) {
    if (!recipe["seed"].is_number_integer() || recipe["seed"] < 0) fail("judge.seed: must be a whole number from 0");
    knobs.seed = recipe["seed"].get<uint64_t>();
  }
  return knobs;
}

}  // namespace thinker
