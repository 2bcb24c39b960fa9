#include "tpo/judges/answer.h"

#include "tpo/text.h"

namespace thinker {

namespace {

constexpr std::string_view kMark = "####";
constexpr std::string_view kMinusSign = "\u2212";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool digit_at(std::string_view text, size_t i) {
  return i < text.size() && is_digit(text[i]);
}

bool is_letter_or_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}

/// Exactly three digits follow this comma.
bool groups_digits(std::string_view text, size_t comma) {
  return digit_at(text, comma + 1) && digit_at(text, comma + 2) && digit_at(text, comma + 3) &&
         !digit_at(text, comma + 4);
}

/// Whether a minus, before which a currency sign may be skipped, ends where the number begins.
bool is_negative(std::string_view text, size_t begin) {
  std::string_view before = text.substr(0, begin);
  if (before.ends_with("$")) before.remove_suffix(1);
  size_t minus = 0;
  if (before.ends_with("-")) minus = 1;
  if (before.ends_with(kMinusSign)) minus = kMinusSign.size();
  if (minus == 0) return false;
  before.remove_suffix(minus);
  return before.empty() || !(is_letter_or_digit(before.back()) || before.back() == ')');
}

std::string normalised(bool negative, std::string whole, std::string fraction) {
  while (whole.size() > 1 && whole.front() == '0') whole.erase(0, 1);
  while (fraction.ends_with('0')) fraction.pop_back();
  if (whole.empty()) whole = "0";
  if (whole == "0" && fraction.empty()) negative = false;
  return (negative ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

std::vector<std::string> numbers_in(std::string_view text) {
  std::vector<std::string> numbers;
  for (size_t i = 0; i < text.size();) {
    const bool point_first = text[i] == '.' && digit_at(text, i + 1);
    if (!is_digit(text[i]) && !point_first) {
      ++i;
      continue;
    }
    const bool negative = is_negative(text, i);
    std::string whole, fraction;
    while (digit_at(text, i) || (i < text.size() && text[i] == ',' && !whole.empty() && groups_digits(text, i))) {
      if (text[i] != ',') whole += text[i];
      ++i;
    }
    if (i < text.size() && text[i] == '.')
      while (digit_at(text, ++i)) fraction += text[i];
    numbers.push_back(normalised(negative, std::move(whole), std::move(fraction)));
  }
  return numbers;
}

}  // namespace

std::optional<std::string> final_number(std::string_view text) {
  if (const size_t mark = text.rfind(kMark); mark != std::string_view::npos) {
    const std::vector<std::string> after = numbers_in(text.substr(mark + kMark.size()));
    if (!after.empty()) return after.front();
  }
  const std::vector<std::string> all = numbers_in(text);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

std::vector<Judged> AnswerJudge::judge(std::span<const JudgeView> views, const OnJudged&) {
  std::vector<Judged> all;
  for (const JudgeView& view : views) {
    const auto right = view.reference() ? final_number(*view.reference()) : std::nullopt;
    if (!right) {
      all.push_back({std::nullopt,
                     view.reference() ? "the reference \"" + excerpt(*view.reference()) + "\" holds no number"
                                      : "the prompt has no \"reference\"",
                     ""});
      continue;
    }
    const auto said = final_number(view.response());
    all.push_back({said == right ? 1.0 : 0.0, "", said.value_or("")});
  }
  return all;
}

}  // namespace thinker
