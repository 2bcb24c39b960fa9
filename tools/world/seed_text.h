// What the seed model is trained on, from nothing, before any preference training. Three kinds of text are mixed:
//
//   worked    "Show your work." PROMPT -> worked solution <R> answer      it has met step-by-step solutions
//   direct    PROMPT -> answer
//   thoughts  "Think first." PROMPT -> thought <R> answer                 it knows the format, but seldom thinks
//   usefully
//
// A thought leads to the answer with probability `useful`; else it is one of those that lead nowhere (thoughts.h). A
// few lack the marker, or have it twice. Answers are sloppy: a share of them is spoilt (another answer, "um " in front,
// cut short), more of them after a useless thought, so that sampling gives better and worse outputs, and thinking
// starts as a disadvantage. Copying and reversing take longest to learn, so they come more often than the largest
// digit and the facts. All this is set-up, and so is that useless thoughts are long. The finding is what the loop
// makes of it.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/world/world.h"
#include "tpo/model.h"
#include "tpo/training.h"

namespace thinker::world {

/// Shares and probabilities of the mixture.
struct SeedMix {
  double worked = 0.35, direct = 0.25;  // the rest are thoughts
  double useful = 0.15;                 // a thought leads to the answer
  double spoilt = 0.25;                 // an answer is spoilt
  double spoilt_after_useless = 0.50;   // an answer after a useless thought is
  double malformed = 0.20;              // a thought's marker is missing, or is there twice
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

}  // namespace thinker::world
