// The rule judge: checks that a program can decide. A prompt's "check" is an object {KIND: VALUE, …} or a list of such
// objects, each of which may have a "weight" (default 1) for the checks in it. The score is the weighted share of
// satisfied checks.
//
//   exact, contains, starts_with, ends_with   TEXT or {"text": …, "ignore_case": true}; for exact a list = any of them,
//   for
//                                             contains a list = all of them
//   regex                                     PATTERN (PCRE2, found anywhere) or {"pattern": …, "ignore_case": true}
//   keyword                                   WORD or {"word": …, "min": 1, "max": …}: a whole word, any case
//   forbidden                                 WORD or a list: none of them as a whole word, any case
//   max_words, min_words                      N
//   sentences, paragraphs, lines, bullets,    N exactly, or {"min": …, "max": …}; measure.h defines each.
//   numbered, capital_words, highlights,      highlights: *text*; placeholders: [text]
//   placeholders
//   no_comma, no_digits, no_exclamation,      true. lowercase and uppercase: no letter of the other case, and at least
//   one lowercase, uppercase, json, quoted,       letter; json: the response (or its ``` block) is JSON; quoted: all of
//   it in title, postscript                         double quotes; title: <<text>>; postscript: a line that begins with
//   "P.S."
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tpo/judge.h"

namespace thinker {

struct Check {
  std::string kind;
  double weight;
  std::function<bool(const std::string& response)> holds;
};

/// Throws Error "PLACE: reason": an unknown kind or option (with the nearest known), a value of the wrong type, a
/// broken pattern.
std::vector<Check> parse_checks(const Json& check, const std::string& place);

/// The known kinds, sorted.
const std::vector<std::string>& check_kinds();

/// answer tells which checks were not met. A view without a check, or a pattern that takes too much work, is that
/// view's error; a check that cannot be parsed throws Error.
class RuleJudge : public Judge {
 public:
  std::vector<Judged> judge(std::span<const JudgeView> views) override;
};

}  // namespace thinker
