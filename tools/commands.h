// The subcommands of `thinker`. Each function adds one to the program; its callback does the work and throws on
// failure.
#pragma once

#include <stdexcept>

#include "tools/arguments.h"

namespace thinker {

void add_tokenize(Command& program);
void add_generate(Command& program);
void add_chat(Command& program);
void add_score(Command& program);
void add_sft(Command& program);
void add_dpo(Command& program);
void add_reward(Command& program);
void add_convert(Command& program);
void add_sample(Command& program);
void add_judge(Command& program);
void add_judge_report(Command& program);
void add_pair(Command& program);
void add_eval(Command& program);
void add_train(Command& program);
void add_demo(Command& program);
void add_demo_length(Command& program);
void add_report(Command& program);
void add_bench(Command& program);

/// A usage error that the option parser cannot see, such as two options that exclude each other. Exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace thinker
