// A pairwise judge as a pointwise one: a response's score is its win rate against a fixed opponent's response to the
// same prompt, over a game in each order (a tie, and a game without a verdict, counts half). This is what held-out
// scores, the choice of a checkpoint and `eval --against` mean under a pairwise judge.
#pragma once

#include <map>
#include <string>

#include "tpo/judge.h"
#include "tpo/samples.h"

namespace thinker {

class OpponentJudge : public Judge {
 public:
  explicit OpponentJudge(PairJudge& judge) : judge_(judge) {}

  /// The opponent's outputs, one a prompt; of two the first counts. One that did not parse loses to any response.
  void add(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& outputs);

  /// 0, 1/4, 1/2, 3/4 or 1. A response equal to the opponent's has 1/2 without being asked about. Neither game with a
  /// verdict: an error. Throws Error when the opponent has no output for a prompt.
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;

 private:
  PairJudge& judge_;
  std::map<std::string, std::optional<JudgeView>> opponent_;  // by the prompt's messages; none: did not parse
};

}  // namespace thinker
