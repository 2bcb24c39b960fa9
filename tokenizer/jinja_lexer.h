// Takes a Jinja template apart into text, tags and their words, without running it. White space is treated as
// transformers' settings of Jinja do (trim_blocks, lstrip_blocks, and no newline at the end).
#pragma once

#include <string_view>
#include <vector>

namespace thinker {

/// A word of a tag. Points into the template.
struct JinjaWord {
  char kind;              // 'n' a name, 's' a string, '0' a number, else the character itself
  std::string_view text;  // a string's is what stands between the quotes, escapes as written

  bool is(std::string_view name) const { return kind == 'n' && text == name; }
};

struct JinjaPart {
  char kind;                     // 't' text, '{' an expression that is written, '%' a statement
  std::string_view text;         // of 't'
  std::vector<JinjaWord> words;  // of '{' and '%'
};

/// Comments are left out, and so are empty texts. The parts point into the source. Throws TokenizerError where a tag
/// or a string does not end; the message is a clause about the template ("has a tag that does not end").
std::vector<JinjaPart> lex_jinja(std::string_view source);

}  // namespace thinker
