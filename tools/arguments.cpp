#include "tools/arguments.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

namespace thinker {

Argument Argument::required() {
  option_->required();
  return *this;
}

Argument Argument::check(ValueCheck check) {
  const auto of_word = [check = std::move(check)](const std::string& word) { return check(word); };
  option_->check(CLI::Validator(of_word, ""));
  return *this;
}

Argument Argument::needs(Argument other) {
  option_->needs(other.option_);
  return *this;
}

Argument Argument::excludes(Argument other) {
  option_->excludes(other.option_);
  return *this;
}

Argument Argument::expected(int least, int most) {
  option_->expected(least, most);
  return *this;
}

Argument Argument::repeatable() {
  option_->take_all()->allow_extra_args(false);
  return *this;
}

Argument Argument::by_commas() {
  option_->delimiter(',')->allow_extra_args(false);
  return *this;
}

Command Command::add_subcommand(const std::string& name, const std::string& description) {
  return Command(*app_->add_subcommand(name, description));
}

template <class T>
Argument Command::add_option(const std::string& name, T& to, const std::string& help) {
  return Argument(app_->add_option(name, to, help));
}

template Argument Command::add_option(const std::string&, std::string&, const std::string&);
template Argument Command::add_option(const std::string&, std::optional<std::string>&, const std::string&);
template Argument Command::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Argument Command::add_option(const std::string&, int&, const std::string&);
template Argument Command::add_option(const std::string&, int64_t&, const std::string&);
template Argument Command::add_option(const std::string&, uint64_t&, const std::string&);
template Argument Command::add_option(const std::string&, std::optional<int64_t>&, const std::string&);
template Argument Command::add_option(const std::string&, float&, const std::string&);
template Argument Command::add_option(const std::string&, double&, const std::string&);

Argument Command::add_flag(const std::string& name, bool& to, const std::string& help) {
  return Argument(app_->add_flag(name, to, help));
}

Argument Command::add_word(const std::string& name, const std::function<void(const std::string&)>& set,
                           const std::string& current, const std::string& help) {
  return Argument(app_->add_option_function<std::string>(name, set, help)->default_str(current));
}

void Command::callback(std::function<void()> run) {
  app_->callback(std::move(run));
}

}  // namespace thinker
