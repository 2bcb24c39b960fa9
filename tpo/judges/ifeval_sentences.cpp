// Punkt's decisions (see ifeval_text.h). A place where a sentence may end is '.', '!' or '?' before whitespace and more
// text, or before a closing mark. In a run of characters without whitespace only the last such place counts. Its
// context, from the run's begin to the token that follows, is cut into tokens, and the tokens decide.
#include <algorithm>
#include <array>
#include <vector>

#include "tpo/judges/ifeval_text.h"
#include "tpo/judges/regex.h"

namespace thinker::ifeval {

namespace {

/// A character that no word holds.
const std::string kMark = "[)\";}\\]*:@'({\\[\u2018\u2019\u201C\u201D\u00AB\u00BB?!]";

template <size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& sorted) {
  return std::binary_search(sorted.begin(), sorted.end(), word);
}

/// Abbreviations that texts of every kind have, without their last period. "e.g.", "i.e." and "etc." are none: Punkt
/// did not learn them from its newspaper.
bool is_abbreviation(std::string_view word) {
  static constexpr std::array<std::string_view, 67> known = {
      "a.m",  "adm", "ala", "ariz",   "aug",   "ave",  "bros", "calif", "co",   "col", "colo", "conn", "corp", "cos",
      "ct",   "d.c", "dec", "dr",     "feb",   "fla",  "fri",  "ft",    "ga",   "gen", "ill",  "inc",  "jan",  "jr",
      "lt",   "ltd", "maj", "messrs", "mich",  "minn", "mr",   "mrs",   "ms",   "n.c", "n.j",  "n.y",  "nov",  "oct",
      "okla", "ore", "p.m", "ph.d",   "prof",  "rep",  "reps", "s.c",   "sen",  "sep", "sept", "sr",   "st",   "tenn",
      "tues", "u.k", "u.n", "u.s",    "u.s.a", "va",   "vs",   "vt",    "wash", "wed", "wis"};
  static_assert(std::is_sorted(known.begin(), known.end()));
  return is_one_of(word, known);
}

/// Words that, when capitalised after an abbreviation or an initial, begin a sentence.
bool starts_sentences(std::string_view word) {
  static constexpr std::array<std::string_view, 38> known = {
      "according", "although", "among", "both",         "but",       "despite",   "even",  "he",
      "however",   "i",        "if",    "in",           "indeed",    "instead",   "it",    "many",
      "meanwhile", "moreover", "most",  "nevertheless", "please",    "similarly", "since", "so",
      "some",      "the",      "then",  "there",        "therefore", "these",     "they",  "this",
      "though",    "thus",     "under", "when",         "while",     "yet"};
  static_assert(std::is_sorted(known.begin(), known.end()));
  return is_one_of(word, known);
}

bool first_in_case(std::string_view token, LetterCase letter_case) {
  size_t n = 1;
  while (n < token.size() && (static_cast<unsigned char>(token[n]) & 0xC0) == 0x80) ++n;
  return all_in_case(token.substr(0, n), letter_case);
}

/// True when a sentence ends after this token, given the token that follows.
bool ends_sentence(std::string_view token, std::string_view next) {
  static const Regex number("\\A-?[.,]?\\d[\\d,.-]*\\z"), initial("\\A[^\\W\\d]\\.\\z");
  if (token == "." || token == "!" || token == "?") return true;
  if (!token.ends_with('.')) return false;
  const std::string next_word = lower(next);
  const bool starter = first_in_case(next, LetterCase::upper) && starts_sentences(next_word);
  if (token.ends_with("..")) return starter;  // an ellipsis
  const std::string word = lower(token.substr(0, token.size() - 1));
  const bool one_letter = initial.found_in(token);
  if (!one_letter && (is_abbreviation(word) || is_abbreviation(word.substr(word.rfind('-') + 1)))) return starter;
  if (!one_letter && !number.found_in(word)) return true;
  static const std::string_view kMarks = ";:,.!?";
  const bool goes_on =
      first_in_case(next, LetterCase::lower) || (next.size() == 1 && kMarks.find(next[0]) != kMarks.npos);
  if (goes_on) return false;
  return !one_letter || !first_in_case(next, LetterCase::upper) || starter;
}

bool holds_break(std::string_view context) {
  static const Regex token(
      "-{2,}|\\.{2,}|(?:\\.\\s){2,}\\."
      "|[^\\s(\"`{\\[:;&#*@)}\\]\\-,]\\S*?(?=\\s|\\z|" +
      kMark + "|-{2,}|\\.{2,}|,(?=\\z|\\s|" + kMark +
      "|-{2,}|\\.{2,}))"
      "|\\S");
  const auto tokens = token.find_all(context);
  for (size_t i = 0; i + 1 < tokens.size(); ++i)
    if (ends_sentence(tokens[i], tokens[i + 1])) return true;
  return false;
}

/// Offsets [begin, end) of the sentences. They may begin with what closes the sentence before.
std::vector<std::string_view> raw_sentences(std::string_view text) {
  static const Regex end("[.?!](?=" + kMark + "|\\s+\\S)"), after("\\A(?:" + kMark + "|\\s+\\S+)"), space("\\s+");
  std::vector<std::string_view> sentences;
  size_t begin = 0;
  const auto ends = end.find_all(text);
  for (size_t i = 0; i < ends.size(); ++i) {
    const size_t at = ends[i].data() - text.data() + 1;
    // The last one of a run without whitespace only.
    if (i + 1 < ends.size() && !space.found_in(text.substr(at, ends[i + 1].data() - text.data() - at))) continue;
    size_t run = at - 1;
    while (run > 0 && strip(text.substr(run - 1, 1)).size() == 1) --run;
    const std::string_view following = after.find_all(text.substr(at))[0];
    if (!holds_break(text.substr(run, at - run + following.size()))) continue;
    sentences.push_back(text.substr(begin, at - begin));
    const std::string_view token = strip(following);
    begin = token.size() < following.size() ? token.data() - text.data() : at;
  }
  sentences.push_back(text.substr(begin));
  return sentences;
}

}  // namespace

int64_t count_sentences(std::string_view text) {
  static const Regex closing("\\A[\"')\\]}\u2018\u2019\u201C\u201D\u00AB\u00BB]+?(?:\\s+|(?=--)|\\z)");
  int64_t count = 0;
  std::vector<std::string_view> sentences = raw_sentences(strip(text));
  for (size_t i = 0; i < sentences.size(); ++i) {
    // Marks that close this sentence stand in front of the next one.
    const auto marks = i + 1 < sentences.size() ? closing.find_all(sentences[i + 1]) : std::vector<std::string_view>{};
    if (!marks.empty()) sentences[i + 1].remove_prefix(marks[0].size());
    if (!sentences[i].empty() || !marks.empty()) ++count;
  }
  return count;
}

}  // namespace thinker::ifeval
