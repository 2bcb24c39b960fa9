// The `thinker` program: parses the command line, runs one subcommand, and turns what it throws into one line and an exit
// status: 0 done, 1 failed, 2 wrong usage.
#include <csignal>
#include <iostream>
#include <new>

#include "tensor/check.h"
#include "tools/commands.h"
#include "tpo/provenance.h"
#include "tpo/text.h"

namespace {

/// The subcommand that was being parsed.
const CLI::App& deepest(const CLI::App& app) {
  const auto used = app.get_subcommands();
  return used.empty() ? app : deepest(*used.front());
}

/// " (did you mean --max-new?)" for an argument that nobody expected.
std::string suggestion(const CLI::App& app) {
  const CLI::App& command = deepest(app);
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; })) known.push_back(sub->get_name());
  const std::vector<std::string> extras = app.remaining(true);
  if (extras.empty()) return "";
  return " (did you mean " + thinker::nearest_name(extras.front(), known) + "?)";
}

int run(int argc, char** argv) {
  CLI::App app("Thinker: Thought Preference Optimization. Teaches language models to think before they answer.", "thinker");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("thinker ") + version());
  using namespace thinker;
  for (auto add : {add_demo, add_train, add_chat, add_generate, add_sample, add_judge, add_pair, add_eval, add_report, add_sft,
                   add_dpo, add_tokenize, add_score, add_convert, add_bench}) {
    add(app);
  }
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    for (CLI::Option* option : sub->get_options()) {
      if (!option->get_lnames().empty() && option->get_expected_min() > 0) option->capture_default_str();
    }
  }
  try {
    app.parse(argc, argv);
    std::cout.flush();
    if (!std::cout) thinker::fail("standard output: cannot be written (is the disk full?)");
    return 0;
  } catch (const CLI::ExtrasError& e) {
    std::cerr << "thinker: " << e.what() << suggestion(app) << "\n";
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e, std::cout, std::cerr);  // --help, --version
    std::cerr << "thinker: " << e.what() << "; see `thinker " << deepest(app).get_name() << " --help`\n";
  } catch (const UsageError& e) {
    std::cerr << "thinker: " << e.what() << "\n";
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of the write, not the end of the program
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "thinker: out of memory\n";
  } catch (const std::exception& e) {
    std::cerr << "thinker: " << e.what() << "\n";
  }
  return 1;
}
