// The arguments of a subcommand: what tools/ uses of CLI11. Behind a plain header, since its own takes each file that
// includes it six seconds to compile.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/validators.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace thinker {

/// An option, a flag or a positional argument of a Command. Its functions say what must hold, and give it back.
class Argument {
 public:
  explicit Argument(CLI::Option* option) : option_(option) {}

  Argument required();
  Argument check(ValueCheck check);
  Argument needs(Argument other);
  Argument excludes(Argument other);
  /// Takes from `least` to `most` values in a row.
  Argument expected(int least, int most);
  /// Stands as often as one likes, each time with one value.
  Argument repeatable();
  /// Takes one word of several values with commas between them.
  Argument by_commas();

 private:
  CLI::Option* option_;
};

/// A subcommand of `thinker`, or the program with its subcommands.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  Command add_subcommand(const std::string& name, const std::string& description);

  /// "--name", or "NAME" for a positional argument. Help shows what an option's `to` holds now as the default. T is a
  /// string, an optional or a list of strings, or a number; arguments.cpp has the types.
  template <class T>
  Argument add_option(const std::string& name, T& to, const std::string& help);

  Argument add_flag(const std::string& name, bool& to, const std::string& help);

  /// An option whose words stand for values. `to` keeps its value as the default.
  template <class E>
  Argument add_choice(const std::string& name, E& to, const std::vector<std::pair<std::string, E>>& choices,
                      const std::string& help) {
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
    return add_word(name, set, current, help).check(one_of(std::move(words)));
  }

  /// What the subcommand does once all arguments are read. It throws on failure.
  void callback(std::function<void()> run);

 private:
  Argument add_word(const std::string& name, const std::function<void(const std::string&)>& set,
                    const std::string& current, const std::string& help);

  CLI::App* app_;
};

}  // namespace thinker
