// UTF-8: where a character ends, and what to show for bytes that are none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace thinker {

enum class Utf8Kind {
  Character,   // a complete, valid character
  Invalid,     // bytes that no continuation can make valid
  Incomplete,  // the text ends inside a character that is valid so far
};

struct Utf8Step {
  Utf8Kind kind;
  size_t length;  // bytes, at least 1; for Invalid and Incomplete the longest prefix that could have begun a character
};

/// Classifies what starts at text[at] (at < text.size()), after the table of well-formed sequences in the Unicode
/// standard (3.9, table 3-7): no surrogates, no overlong forms, nothing above U+10FFFF.
Utf8Step utf8_step(std::string_view text, size_t at);

/// The text with every ill-formed part (in the sense of utf8_step) replaced by U+FFFD.
std::string utf8_replace_invalid(std::string_view text);

/// The beginning of any bytes as one line of valid UTF-8, at most about `limit` bytes long: for error messages.
std::string utf8_excerpt(std::string_view text, size_t limit);

/// UTF-8 of a code point up to U+10FFFF.
std::string utf8_encode(uint32_t code_point);

/// The code point of one valid character.
uint32_t utf8_decode(std::string_view character);

}  // namespace thinker
