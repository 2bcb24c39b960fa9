#include "tools/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <new>

#include "tensor/check.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tpo/provenance.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// The subcommand that was being parsed.
const CLI::App& deepest(const CLI::App& app) {
  const auto used = app.get_subcommands();
  return used.empty() ? app : deepest(*used.front());
}

std::string help_hint(const CLI::App& app) {
  const CLI::App& command = deepest(app);
  return "; see `thinker " + (&command == &app ? "" : command.get_name() + " ") + "--help`";
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

/// What to say of words that nobody expected. An option comes first: the words after it are mostly its value.
std::string about_extras(const CLI::App& app, const std::vector<std::string>& extras) {
  const auto option =
      std::find_if(extras.begin(), extras.end(), [](const std::string& word) { return word.starts_with("-"); });
  const CLI::App& command = deepest(app);
  if (option != extras.end()) {
    const std::string name = option->substr(0, option->find('='));
    return "unknown option " + excerpt(name) + "; did you mean " + nearest_name(name, option_names(command)) + "?";
  }
  if (&command != &app) return "unexpected argument \"" + excerpt(extras.front()) + "\"" + help_hint(app);
  return "unknown command \"" + excerpt(extras.front()) + "\"; did you mean \"" +
         nearest_name(extras.front(), command_names(app)) + "\"?";
}

std::string usage_message(const CLI::App& app, const CLI::ParseError& e) {
  const std::vector<std::string> extras = app.remaining(true);
  const bool no_command = app.get_subcommands().empty();  // the parser then complains of that, not of the word
  if (!extras.empty() && (no_command || dynamic_cast<const CLI::ExtrasError*>(&e))) return about_extras(app, extras);
  if (no_command) return "which command? see `thinker --help`";
  return e.what() + help_hint(app);
}

void flush_output() {
  std::cout.flush();
  if (!std::cout) fail("standard output: cannot be written (is it closed, or the disk full?)");
}

int parse_and_run(int argc, const char* const* argv) {
  CLI::App app("Thinker: Thought Preference Optimization. Teaches language models to think before they answer.",
               "thinker");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("thinker ") + version());
  Command program(app);
  for (auto add :
       {add_demo, add_demo_length, add_train, add_chat, add_generate, add_sample, add_judge, add_judge_report, add_pair,
        add_eval, add_report, add_sft, add_dpo, add_reward, add_tokenize, add_score, add_convert, add_bench}) {
    add(program);
  }
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    for (CLI::Option* option : sub->get_options()) {
      if (!option->get_lnames().empty() && option->get_expected_min() > 0) option->capture_default_str();
    }
  }
  try {
    app.parse(argc, argv);
    flush_output();
    return 0;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != 0) {
      std::cerr << "thinker: " << usage_message(app, e) << "\n";
      return 2;
    }
    app.exit(e, std::cout, std::cerr);  // --help, --version
    flush_output();
    return 0;
  } catch (const UsageError& e) {
    std::cerr << "thinker: " << e.what() << "\n";
    return 2;
  }
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (const Stopped& e) {
    std::cerr << "thinker: " << e.what() << "\n";
    return kStoppedStatus;
  } catch (const std::bad_alloc&) {
    std::cerr << "thinker: out of memory\n";
  } catch (const std::exception& e) {
    std::cerr << "thinker: " << e.what() << "\n";
  }
  return 1;
}

}  // namespace thinker
