#include "tpo/text.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace thinker {

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

namespace {

/// Bytes of the well-formed character at the front (Unicode standard, table 3-7), or 0 when it is ill-formed.
size_t character_length(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < s.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool second = continues(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF);
    return second && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool second = continues(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

/// Of U+0000 to U+001F, U+007F to U+009F: what moves a terminal's cursor, and worse.
bool is_control(std::string_view character) {
  if (character.size() == 2) return character[0] == '\xC2' && static_cast<unsigned char>(character[1]) < 0xA0;
  return character.size() == 1 && (static_cast<unsigned char>(character[0]) < 0x20 || character[0] == 0x7F);
}

/// Appends characters until *out would be longer than the limit; '?' for what is ill-formed or a control character that
/// is not in `kept`. Returns where in the text it stopped.
size_t append_shown(std::string_view text, size_t limit, std::string_view kept, std::string* out) {
  size_t i = 0;
  while (i < text.size()) {
    const size_t length = character_length(text.substr(i));
    if (out->size() + std::max<size_t>(1, length) > limit) break;
    const std::string_view character = text.substr(i, length);
    const bool shown = length > 0 && (!is_control(character) || kept.find(character) != kept.npos);
    *out += shown ? character : "?";
    i += std::max<size_t>(1, length);
  }
  return i;
}

/// Levenshtein distance, one row at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

int64_t first_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = character_length(text.substr(i));
    if (length == 0) return static_cast<int64_t>(i);
    i += length;
  }
  return -1;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  for (int64_t bad; (bad = first_invalid_utf8(text)) >= 0; text.remove_prefix(bad + 1))
    out.append(text.substr(0, bad)).append("\uFFFD");
  return out.append(text);
}

int64_t count_code_points(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) i += std::max<size_t>(1, character_length(text.substr(i)));
  return count;
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  // A user's key may be megabytes long; its first characters decide, and the table stays small.
  name = name.substr(0, 64);
  const auto closer = [&](const std::string& a, const std::string& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  };
  const auto best = std::min_element(candidates.begin(), candidates.end(), closer);
  return best == candidates.end() ? "" : *best;
}

std::string excerpt(std::string_view text, size_t limit) {
  std::string out;
  return append_shown(text, limit, "", &out) < text.size() ? out + "..." : out;
}

std::string for_terminal(std::string_view text) {
  std::string out;
  append_shown(text, std::string::npos, "\n\t", &out);
  return out;
}

}  // namespace thinker
