// PCRE2 behind a plain face: Unicode-aware patterns on UTF-8, and a limit on work, since a pattern of one stranger
// meets a text of another and some pairs of the two would backtrack for hours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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

  /// The occurrences that do not overlap, from left to right; views into the text.
  std::vector<std::string_view> find_all(std::string_view text) const;

  /// The text between the occurrences: n of them give n + 1 pieces, any of which may be empty.
  std::vector<std::string_view> split(std::string_view text) const;

  /// The text with every occurrence replaced. In the replacement $1 is a group, $0 all, \L lower case (PCRE2's
  /// extended syntax).
  std::string replace(std::string_view text, const std::string& replacement) const;

  /// The pattern that matches the text as it is written.
  static std::string quoted(std::string_view text);

  /// The pattern for a whole word or phrase: the text as it is, with no letter, digit or underscore beside it.
  static std::string whole_word(std::string_view text);

 private:
  template <class Take>
  void each_match(std::string_view text, const Take& take) const;

  std::string pattern_;
  std::shared_ptr<void> code_;  // pcre2_code
};

}  // namespace thinker
