#include "tpo/judges/ifeval_text.h"

#include <algorithm>

#include "tpo/judges/regex.h"

namespace thinker::ifeval {

namespace {

/// Bytes of the whitespace character at the front, 0 when there is another. Python counts the separators 1C-1F too.
size_t space_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned a = byte(0), b = byte(1), c = byte(2);
  if (a == ' ' || (a >= 0x09 && a <= 0x0D) || (a >= 0x1C && a <= 0x1F)) return 1;
  if (a == 0xC2 && (b == 0x85 || b == 0xA0)) return 2;
  const bool wide = (a == 0xE1 && b == 0x9A && c == 0x80) ||                                           // U+1680
                    (a == 0xE2 && b == 0x80 && (c <= 0x8A || c == 0xA8 || c == 0xA9 || c == 0xAF)) ||  // U+2000 on
                    (a == 0xE2 && b == 0x81 && c == 0x9F) || (a == 0xE3 && b == 0x80 && c == 0x80);
  return wide ? 3 : 0;
}

/// What stands alone, and parts words, in Treebank tokens. Only capital tokens are counted, so it becomes a space.
const Regex& treebank_marks() {
  static const Regex marks(
      "[\"`\u00AB\u00BB\u2018\u2019\u201C\u201D\u201E\u2012-\u2015;@#$%&?!*()\\[\\]{}<>]|\\.{2,}|--|''"
      "|[:,](?!\\d)"
      "|(?<!\\w)'(?!(?i:re|ve|ll|m|t|s|d|n)\\b)(?=\\w)");
  return marks;
}

/// Where a word without space is two tokens: the second half of each.
const Regex& treebank_joints() {
  static const Regex joints(
      "(?<=[^'\\s])(?:'(?:[sSmMdD]|ll|LL|re|RE|ve|VE)|n't|N'T)(?=\\s)"
      "|(?i)(?:(?<=\\bcan)not|(?<=\\bgon)na|(?<=\\bgot)ta|(?<=\\bgim)me|(?<=\\blem)me|(?<=\\bd)'ye|(?<=\\bmore)'n)\\b"
      "|(?<=\\bwan)na(?=\\s)");
  return joints;
}

}  // namespace

std::string_view strip(std::string_view text) {
  while (const size_t n = space_length(text)) text.remove_prefix(n);
  for (;;) {
    size_t last = text.size();
    while (last > 0 && (static_cast<unsigned char>(text[--last]) & 0xC0) == 0x80) {
    }
    if (text.empty() || space_length(text.substr(last)) == 0) return text;
    text.remove_suffix(text.size() - last);
  }
}

std::string_view first_token(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (space_length(text.substr(i)) > 0) return text.substr(0, i);
  return text;
}

std::string lower(std::string_view text) {
  // The two letters whose small form is not one for one: sigma at the end of a word, and the Turkish dotted capital I.
  static const Regex letters("\\p{L}+"), final_sigma("(?<=[\\p{Lu}\\p{Ll}\\p{Lt}])\u03A3(?![\\p{Lu}\\p{Ll}\\p{Lt}])"),
      dotted("\u0130");
  return dotted.replace(letters.replace(final_sigma.replace(text, "\u03C2"), "\\L$0"), "i\u0307");
}

bool all_in_case(std::string_view text, LetterCase letter_case) {
  static const Regex upper("\\p{Uppercase}"), lower("\\p{Lowercase}"), title("\\p{Lt}");
  const Regex& wanted = letter_case == LetterCase::upper ? upper : lower;
  const Regex& other = letter_case == LetterCase::upper ? lower : upper;
  return wanted.found_in(text) && !other.found_in(text) && !title.found_in(text);
}

bool has_letters(std::string_view text) {
  static const Regex letter("\\p{L}");
  return letter.found_in(text);
}

int64_t count_words(std::string_view text) {
  static const Regex word("[\\p{L}\\p{N}_]+");
  return word.count(text);
}

int64_t count_capital_tokens(std::string_view text) {
  static const Regex token("\\S+");
  const std::string apart = treebank_joints().replace(treebank_marks().replace(text, " ") + " ", " $0");
  const auto tokens = token.find_all(apart);
  return std::count_if(tokens.begin(), tokens.end(),
                       [](std::string_view t) { return all_in_case(t, LetterCase::upper); });
}

bool is_json(std::string_view text) {
  static const Regex json(
      "(?(DEFINE)(?<space>[ \\t\\n\\r]*+)"
      "(?<string>\"(?:[^\"\\\\\\x00-\\x1F]++|\\\\(?:[\"\\\\/bfnrt]|u[0-9A-Fa-f]{4}))*+\")"
      "(?<number>-?(?:0|[1-9][0-9]*+)(?:\\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+)"
      "(?<member>(?&string)(?&space):(?&space)(?&value)(?&space))"
      "(?<item>(?&value)(?&space))"
      "(?<value>(?&string)|true|false|null|NaN|-?Infinity|(?&number)"
      "|\\[(?&space)(?:(?&item)(?:,(?&space)(?&item))*+)?+\\]"
      "|\\{(?&space)(?:(?&member)(?:,(?&space)(?&member))*+)?+\\}))"
      "\\A(?&space)(?&value)(?&space)\\z");
  return json.found_in(text);
}

}  // namespace thinker::ifeval
