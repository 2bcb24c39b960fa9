// Small questions about text that several parts of tpo ask: trimming, UTF-8, lengths, and "did you mean".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace thinker {

/// True for the six ASCII whitespace characters. Trimming looks at these only, so that it never cuts a UTF-8 character.
inline bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// The text without ASCII whitespace at both ends; a view into the argument.
std::string_view trim(std::string_view text);

/// Byte offset of the first byte that is not well-formed UTF-8 (overlong forms and surrogates count as ill-formed), or
/// -1.
int64_t first_invalid_utf8(std::string_view text);

/// The text with U+FFFD for each byte that is not part of well-formed UTF-8.
std::string valid_utf8(std::string_view text);

/// Length in Unicode code points. A byte that is not part of well-formed UTF-8 counts as one.
int64_t count_code_points(std::string_view text);

/// The candidate with the smallest edit distance to the name; empty when there is no candidate.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

/// A short quotation for an error message: at most `limit` bytes, control characters shown as '?', cut at a character.
std::string excerpt(std::string_view text, size_t limit = 60);

/// A text that somebody else wrote, such as a model, for a terminal: control characters but the newline and the
/// tabulator are '?', so that none can clear the screen or name the window.
std::string for_terminal(std::string_view text);

}  // namespace thinker
