#include "tpo/judges/measure.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "tpo/text.h"

namespace thinker {

namespace {

bool is_wordy(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

/// All lines, blank ones too, trimmed.
std::vector<std::string_view> all_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (;;) {
    const size_t end = text.find('\n');
    lines.push_back(trim(text.substr(0, end)));
    if (end == text.npos) return lines;
    text.remove_prefix(end + 1);
  }
}

/// Length of "12." or "12)" at the front when whitespace or nothing follows; 0 when the line is not numbered.
size_t number_length(std::string_view line) {
  size_t n = 0;
  while (n < line.size() && n < 6 && is_digit(line[n])) ++n;
  if (n == 0 || n == line.size() || (line[n] != '.' && line[n] != ')')) return 0;
  ++n;
  return n == line.size() || is_space(line[n]) ? n : 0;
}

size_t bullet_length(std::string_view line) {
  for (std::string_view mark : {"- ", "* ", "+ ", "\u2022", "\u2013 "})
    if (line.starts_with(mark)) return mark.size();
  return 0;
}

/// True when the period that follows `before` belongs to the word, not to the sentence.
bool is_abbreviation(std::string_view before) {
  static constexpr std::array<std::string_view, 12> known = {"Mr", "Mrs", "Ms", "Dr",  "Prof", "St",
                                                             "Jr", "Sr",  "vs", "e.g", "i.e",  "approx"};
  size_t begin = before.size();
  while (begin > 0 && !is_space(before[begin - 1]) && before[begin - 1] != '(') --begin;
  const std::string_view word = before.substr(begin);
  const bool initial = word.size() == 1 && is_upper(word[0]) && word[0] != 'I';
  return initial || std::find(known.begin(), known.end(), word) != known.end();
}

int64_t sentences_of_line(std::string_view line) {
  int64_t count = 0;
  bool content = false;
  for (size_t i = 0; i < line.size(); ++i) {
    content = content || is_wordy(line[i]);
    if (line[i] != '.' && line[i] != '!' && line[i] != '?') continue;
    const size_t mark = i;
    while (i + 1 < line.size() && std::string_view(".!?\"')]*").find(line[i + 1]) != std::string_view::npos) ++i;
    if (line.substr(i + 1).starts_with("\u201D")) i += 3;  // a closing curly quote
    const bool ends = i + 1 >= line.size() || is_space(line[i + 1]);
    const bool period = line[mark] == '.' && mark == i;
    if (ends && content && !(period && i + 1 < line.size() && is_abbreviation(line.substr(0, mark)))) {
      ++count;
      content = false;
    }
  }
  return count + (content ? 1 : 0);
}

}  // namespace

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < text.size();) {
    while (i < text.size() && is_space(text[i])) ++i;
    const size_t begin = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    const std::string_view word = text.substr(begin, i - begin);
    if (std::any_of(word.begin(), word.end(), is_wordy)) words.push_back(word);
  }
  return words;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines = all_lines(text);
  std::erase_if(lines, [](std::string_view line) { return line.empty(); });
  return lines;
}

int64_t count_paragraphs(std::string_view text) {
  int64_t count = 0;
  bool inside = false;
  for (std::string_view line : all_lines(text)) {
    if (!line.empty() && !inside) ++count;
    inside = !line.empty();
  }
  return count;
}

int64_t count_sentences(std::string_view text) {
  int64_t count = 0;
  for (std::string_view line : lines_of(text)) {
    line.remove_prefix(std::max(bullet_length(line), number_length(line)));
    count += sentences_of_line(line);
  }
  return count;
}

int64_t count_bullets(std::string_view text) {
  const auto lines = lines_of(text);
  return std::count_if(lines.begin(), lines.end(), [](std::string_view line) { return bullet_length(line) > 0; });
}

int64_t count_numbered(std::string_view text) {
  int64_t count = 0;
  for (std::string_view line : lines_of(text)) {
    const size_t length = number_length(line);
    if (length == 0) continue;
    if (line.substr(0, length - 1) != std::to_string(++count)) return -1;
  }
  return count;
}

int64_t count_capital_words(std::string_view text) {
  int64_t count = 0;
  for (std::string_view word : words_of(text)) {
    while (!word.empty() && !is_wordy(word.front())) word.remove_prefix(1);
    while (!word.empty() && !is_wordy(word.back())) word.remove_suffix(1);
    if (word.size() >= 2 && std::all_of(word.begin(), word.end(), is_upper)) ++count;
  }
  return count;
}

}  // namespace thinker
