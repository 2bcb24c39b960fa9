// What the rule judge counts in a response. Each definition is the one that the checks' documentation gives; where a
// person would hesitate (is "e.g." the end of a sentence?) the comment says what we do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thinker {

/// Runs between whitespace that hold a letter, a digit or a character beyond ASCII: "well-known" is one word, "-" is
/// none.
std::vector<std::string_view> words_of(std::string_view text);

/// Lines that are not blank, trimmed.
std::vector<std::string_view> lines_of(std::string_view text);

/// Runs of lines between blank lines.
int64_t count_paragraphs(std::string_view text);

/// Runs of text with at least one word that end in '.', '!' or '?' before whitespace, or at the end of a line. A period
/// after a title (Mr., Dr., …), "e.g.", "i.e.", "vs.", a single capital (J. Smith) or a list number ("1.") does not end
/// one.
int64_t count_sentences(std::string_view text);

/// Lines that begin with "- ", "* ", "+ " or a bullet character.
int64_t count_bullets(std::string_view text);

/// n when the lines that begin with a number and "." or ")" are numbered 1, 2, … n in this order; -1 when they are out
/// of order.
int64_t count_numbered(std::string_view text);

/// Words of two or more ASCII letters, all capitals (punctuation around them is ignored).
int64_t count_capital_words(std::string_view text);

}  // namespace thinker
