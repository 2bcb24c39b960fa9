// PCRE2 behind a plain face: Unicode-aware patterns on UTF-8, and a limit on work, since a pattern of one stranger
// meets a text of another and some pairs of the two would backtrack for hours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace thinker {

enum class Case { sensitive, ignore };

class Regex {
 public:
  /// Throws Error with the pattern, the position and PCRE2's reason.
  explicit Regex(const std::string& pattern, Case letter_case = Case::sensitive);

  /// True when the pattern occurs anywhere. Throws Error when the match takes too much work. Ill-formed UTF-8 matches
  /// nothing.
  bool found_in(std::string_view text) const { return count(text, 1) > 0; }

  /// Number of occurrences that do not overlap, at most `limit`.
  int64_t count(std::string_view text, int64_t limit = INT64_MAX) const;

  /// The pattern that matches the text as it is written.
  static std::string quoted(std::string_view text);

  /// The pattern for a whole word or phrase: the text as it is, with no letter, digit or underscore beside it.
  static std::string whole_word(std::string_view text);

 private:
  std::string pattern_;
  std::shared_ptr<void> code_;  // pcre2_code
};

}  // namespace thinker
