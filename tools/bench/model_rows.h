// Rows of the benchmark that a model's work makes: its speed, and how much that is of what the device can do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/transformer.h"
#include "tools/bench/machine.h"
#include "tools/bench/work.h"

namespace thinker {

/// Tokens a second. One row is held against the speed of reading memory, several against that of products; on a GPU
/// several may be limited by either. A step is taken to read all weights once, keys and values not counted.
void bench_generate(const Transformer& net, const Sampling& work, int64_t repeat, Machine& machine);

/// A prompt's keys and values, up to the first token that is drawn.
void bench_prompt(const Transformer& net, const std::string& what, int64_t repeat, Machine& machine);

/// Log-probs of completions on one prompt, in one forward.
void bench_score(const Transformer& net, const std::string& what, int64_t prompt, int64_t completions, int64_t length,
                 int64_t repeat, Machine& machine);

/// A supervised step on sequences of these lengths; micro_tokens: rows of one forward.
void bench_sft(Transformer& net, const std::string& what, const std::vector<int64_t>& lengths, int64_t micro_tokens,
               int64_t repeat, Machine& machine);

/// A step of preference training. The chosen completions' lengths rise evenly from `shortest` to `longest`, the
/// rejected ones' fall. The reference's log-probs are there before.
struct Preferences {
  std::string what;
  int64_t pairs, prompt, shortest, longest;
};

void bench_dpo(Transformer& net, const Preferences& work, int64_t micro_tokens, int64_t repeat, Machine& machine);

}  // namespace thinker
