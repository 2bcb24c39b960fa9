// Questions about text that IFEval's instructions ask, answered as its reference answers them (Zhou et al., arXiv
// 2311.07911, whose program is written in Python and uses NLTK). They differ from measure.h, which is for people who
// write checks: there "well-known" is one word, here two. All texts are well-formed UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace thinker::ifeval {

/// The text without Unicode whitespace at both ends.
std::string_view strip(std::string_view text);

/// The text up to the first Unicode whitespace.
std::string_view first_token(std::string_view text);

/// Every letter in lower case.
std::string lower(std::string_view text);

enum class LetterCase { upper, lower };

/// True when the text has cased letters and all of them are of this case.
bool all_in_case(std::string_view text, LetterCase letter_case);

bool has_letters(std::string_view text);

/// Runs of letters, digits and underscores. A combining mark ends one, as in Python's own regular expressions.
int64_t count_words(std::string_view text);

/// Tokens in capital letters, where tokens are those of the Penn Treebank: punctuation stands alone, "DON'T" is DO and
/// N'T, "WELL-KNOWN" is one.
int64_t count_capital_tokens(std::string_view text);

/// Sentences by the decisions of Punkt (Kiss & Strunk, "Unsupervised Multilingual Sentence Boundary Detection", 2006),
/// with short lists of English abbreviations and sentence starters in place of the tables that NLTK trained. '!' and
/// '?' before whitespace end a sentence; so does a period, unless it belongs to an abbreviation, an initial, or a
/// number that goes on in lower case.
int64_t count_sentences(std::string_view text);

/// True when the text is one JSON value as Python's json module reads it: NaN and Infinity are values.
bool is_json(std::string_view text);

}  // namespace thinker::ifeval
