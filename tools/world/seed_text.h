// What the seed model is trained on, from nothing, before any preference training. Three kinds of text are mixed:
//
//   worked    "Show your work." PROMPT -> worked solution <R> answer      it has met step-by-step solutions
//   direct    PROMPT -> answer
//   thoughts  "Think first." PROMPT -> thought <R> answer                 it knows the format, but mostly thinks
//   nothing useful:
//             the thought is a worked solution with probability `useful`, else an empty phrase
//
// Answers are sloppy: a share of them is spoilt (another answer, "um " in front, cut short), more of them after an
// empty phrase, so that sampling gives better and worse outputs, and thinking starts as a disadvantage. All this is
// set-up. The finding is what the loop makes of it.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/transformer.h"
#include "tools/world/world.h"
#include "tpo/model.h"
#include "tpo/training.h"

namespace thinker::world {

/// Shares and probabilities of the mixture.
struct SeedMix {
  double worked = 0.35, direct = 0.25;  // the rest are thoughts
  double useful = 0.15;                 // a thought is a worked solution
  double spoilt = 0.25;                 // an answer is spoilt
  double spoilt_after_phrase = 0.50;    // an answer after an empty phrase is
  double thinking_tasks = 0.45;         // texts of the categories where thinking helps
};

struct SeedText {
  Messages prompt;         // with its instruction, if any
  std::string completion;  // what the model is to write
};

/// Text `index` of the stream.
SeedText seed_text(uint64_t seed, int64_t index, const SeedMix& mix);

/// `count` texts as token ids, trained on their completions.
std::vector<SftExample> seed_examples(const ChatTokenizer& text, uint64_t seed, int64_t count, const SeedMix& mix);

/// The shape of the seed model: Llama's, with 0.6 million weights.
Config seed_config(int64_t vocabulary_size);

/// An untrained model. Its matrices begin with deviation 1/sqrt(width), more than four times the usual 0.02, which
/// is meant for widths of many hundreds: with that, the skills are learnt in a small part of the steps.
Transformer new_model(Device& device, const Config& config, uint64_t seed);
Transformer new_seed_model(Device& device, int64_t vocabulary_size, uint64_t seed);  // of seed_config

/// How it is trained, for seed_text_count() texts.
TrainOptions seed_training(uint64_t seed);
int64_t seed_text_count();

}  // namespace thinker::world
