// The generator "constraints": instructions whose following a program can check. A base request ("Explain how rain
// forms.") gets one to three constraints that go together ("Use at most 40 words. Do not use any commas."), and the
// rule judge's check for them. Requests are short and everyday, and where no constraint tells the length, the prompt
// asks for a short answer: a very small model that goes on for long ends in repetitions, and most answers would be cut.
//
// The base requests themselves are divided between the splits (8 : 1 : 1 by a shuffle that depends on the seed only),
// so no request of a held-out prompt is ever trained on, whatever its constraints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tpo/judge.h"

namespace thinker {

enum class DataSplit { train, select, test };

/// Prompts offset … offset + count - 1 of a split: all different, deterministic for (seed, split), so that iteration t
/// takes fresh ones by its offset. Ids are "train-0", "train-1", …; check is set; category is the base request's kind.
/// Throws Error when the split has not that many different prompts (tens of thousands).
std::vector<Prompt> constraint_prompts(uint64_t seed, DataSplit split, int64_t offset, int64_t count);

/// A request without constraints.
struct BaseRequest {
  std::string category, text;
};

/// All base requests, in a fixed order; all texts differ.
const std::vector<BaseRequest>& base_requests();

/// One way to constrain an answer: how it is asked for, and the check.
struct Constraint {
  std::string kind;  // the generator's own name: "sentences" and "sentences_at_least" are two kinds on one check
  std::string text;
  Json check;        // {KIND: VALUE} of the rule judge
  uint32_t aspects;  // bits of what it fixes (length, shape, beginning, …); two that share one never meet in a prompt
};

/// All constraints with all their numbers and words, grouped by kind.
const std::vector<std::vector<Constraint>>& constraint_kinds();

}  // namespace thinker
