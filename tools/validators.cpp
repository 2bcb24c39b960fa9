#include "tools/validators.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// Reads the whole word as a T; false when it is not one.
template <class T>
bool read_all(const std::string& word, T& value) {
  const char* end = word.data() + word.size();
  const auto result = std::from_chars(word.data(), end, value);
  return result.ec == std::errc() && result.ptr == end;
}

ValueCheck number(bool low_allowed, double low, double high, const std::string& range) {
  return [=](const std::string& word) -> std::string {
    const std::optional<double> x = number_of(word);
    const bool holds = x && (low_allowed ? *x >= low : *x > low) && *x <= high;
    return holds ? "" : excerpt(word) + " is not a number " + range;
  };
}

}  // namespace

std::optional<double> number_of(const std::string& word) {
  double x = 0.0;
  if (!read_all(word, x) || !std::isfinite(x)) return std::nullopt;
  return x;
}

ValueCheck number_within(double low, double high) {
  return number(true, low, high, concat("from ", low, " to ", high));
}

ValueCheck number_above(double low, double high) {
  return number(false, low, high, concat("above ", low, " and at most ", high));
}

ValueCheck whole(uint64_t low, uint64_t high) {
  return [=](const std::string& word) -> std::string {
    uint64_t x = 0;
    const bool holds = read_all(word, x) && x >= low && x <= high;
    return holds ? "" : concat(excerpt(word), " is not a whole number from ", low, " to ", high);
  };
}

ValueCheck utf8_text() {
  return [](const std::string& word) -> std::string {
    const int64_t at = first_invalid_utf8(word);
    return at < 0 ? "" : concat("invalid UTF-8 at byte ", at);
  };
}

ValueCheck one_of(std::vector<std::string> words) {
  return [words = std::move(words)](const std::string& word) -> std::string {
    if (std::find(words.begin(), words.end(), word) != words.end()) return "";
    return "\"" + excerpt(word) + "\" is unknown; did you mean \"" + nearest_name(word, words) + "\"?";
  };
}

}  // namespace thinker
