// The rule judge: checks that a program can decide. A prompt's "check" is an object {KIND: VALUE, …} or a list of such
// objects, each of which may have a "weight" (default 1) for the checks in it. The score is the weighted share of
// satisfied checks.
//
//   exact, contains, starts_with, ends_with   TEXT or {"text": …, "ignore_case": true}; for exact a list = any of them,
//                                             for contains a list = all of them
//   regex                                     PATTERN (PCRE2, found anywhere) or {"pattern": …, "ignore_case": true}
//   keyword                                   WORD or {"word": …, "min": 1, "max": …}: a whole word, any case
//   forbidden                                 WORD or a list: none of them as a whole word, any case
//   max_words, min_words                      N
//   sentences, paragraphs, lines, bullets,    N exactly, or {"min": …, "max": …}; measure.h defines each.
//   numbered, capital_words, highlights,      highlights: *text*; placeholders: [text]
//   placeholders
//   no_comma, no_digits, no_exclamation,      true. lowercase, uppercase: letters, and none of the other case; json:
//   lowercase, uppercase, json, quoted,       the response (or its ``` block) is JSON; quoted: all of it in double
//   title, postscript                         quotes; title: <<text>>; postscript: a line that begins with "P.S."
//
// A check may also be one of IFEval's: {"instruction_id_list": […], "kwargs": […]}, see ifeval.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tpo/judge.h"
#include "tpo/judges/ifeval.h"

namespace thinker {

struct Check {
  std::string kind;
  double weight;
  std::function<Met(const std::string& response)> met;      // of well-formed UTF-8
  std::function<Met(const std::string& response)> loosely;  // IFEval's loose test; empty for other checks
};

/// Throws Error "PLACE: reason": an unknown kind or option (with the nearest known), a value of the wrong type, a
/// broken pattern.
std::vector<Check> parse_checks(const Json& check, const std::string& place);

/// The known kinds, sorted.
const std::vector<std::string>& check_kinds();

/// Knobs for experiments: a judge that likes length, and one that errs. With both 0 the score is the share.
struct RuleKnobs {
  double length_bias = 0;  // added to the score for each 1000 Unicode code points of the response
  double noise = 0;        // deviation of a normal error, which depends on seed, prompt and response only
  uint64_t seed = 0;
};

/// The score is the weighted share of checks that are met, among those that could be decided; answer tells which were
/// not, and which of these are IFEval's and met loosely. A view without a check, one of which nothing can be decided,
/// or a pattern that takes too much work, is that view's error; a check that cannot be parsed throws Error.
class RuleJudge : public Judge {
 public:
  explicit RuleJudge(const RuleKnobs& knobs = {}) : knobs_(knobs) {}
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;

 private:
  RuleKnobs knobs_;
};

/// Reads {"kind": "rule", "length_bias": 0, "noise": 0, "seed": 0}. Throws Error that names the key.
RuleKnobs parse_rule_knobs(const Json& recipe);

}  // namespace thinker
