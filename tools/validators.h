// Checks of option values, with messages that say what may stand there. The parser's own let NaN pass and answer a
// negative number with the largest double in full.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace thinker {

/// Says what is wrong with a word; nothing ("") where it is right.
using ValueCheck = std::function<std::string(const std::string&)>;

/// The finite number that the whole word is, if it is one.
std::optional<double> number_of(const std::string& word);

/// A number from low to high. NaN, infinity and text after the number are refused.
ValueCheck number_within(double low, double high);

/// A number above low (not low itself) and at most high.
ValueCheck number_above(double low, double high = 1e9);

/// A whole number from low to high, without a sign.
ValueCheck whole(uint64_t low, uint64_t high = 1'000'000'000);

/// A seed: any whole number of 64 bits.
inline ValueCheck any_seed() {
  return whole(0, std::numeric_limits<uint64_t>::max());
}

/// A text for a model: UTF-8, as texts in files.
ValueCheck utf8_text();

/// One of the words; the message names the nearest.
ValueCheck one_of(std::vector<std::string> words);

}  // namespace thinker
