// The subcommands of `thinker`. Each function adds one to the application; its callback does the work and throws on
// failure.
#pragma once

#include <CLI/CLI.hpp>

namespace thinker {

void add_tokenize(CLI::App& app);
void add_generate(CLI::App& app);
void add_chat(CLI::App& app);
void add_score(CLI::App& app);
void add_sft(CLI::App& app);
void add_dpo(CLI::App& app);
void add_reward(CLI::App& app);
void add_convert(CLI::App& app);
void add_sample(CLI::App& app);
void add_judge(CLI::App& app);
void add_judge_report(CLI::App& app);
void add_pair(CLI::App& app);
void add_eval(CLI::App& app);
void add_train(CLI::App& app);
void add_demo(CLI::App& app);
void add_demo_length(CLI::App& app);
void add_report(CLI::App& app);
void add_bench(CLI::App& app);

/// A usage error that the option parser cannot see, such as two options that exclude each other. Exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace thinker
