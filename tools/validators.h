// Checks of option values, with messages that say what may stand there. The parser's own let NaN pass and answer a
// negative number with the largest double in full.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace thinker {

/// A number from low to high. NaN, infinity and text after the number are refused.
CLI::Validator number_within(double low, double high);

/// A number above low (not low itself) and at most high.
CLI::Validator number_above(double low, double high = 1e9);

/// A whole number from low to high, without a sign.
CLI::Validator whole(uint64_t low, uint64_t high = 1'000'000'000);

/// A seed: any whole number of 64 bits.
inline CLI::Validator any_seed() {
  return whole(0, std::numeric_limits<uint64_t>::max());
}

/// A text for a model: UTF-8, as texts in files.
CLI::Validator utf8_text();

/// One of the words; the message names the nearest.
CLI::Validator one_of(std::vector<std::string> words);

/// An option whose words stand for values. `to` keeps its value as the default.
template <class E>
CLI::Option* add_choice(CLI::App& command, const std::string& name, E& to,
                        const std::vector<std::pair<std::string, E>>& choices, const std::string& help) {
  std::vector<std::string> words;
  std::string current;
  for (const auto& [word, value] : choices) {
    words.push_back(word);
    if (value == to) current = word;
  }
  const auto set = [&to, choices](const std::string& given) {
    for (const auto& [word, value] : choices) {
      if (word == given) to = value;
    }
  };
  CLI::Option* option = command.add_option_function<std::string>(name, set, help);
  return option->check(one_of(std::move(words)))->default_str(current);
}

}  // namespace thinker
