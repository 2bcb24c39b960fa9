// A pairwise judge as a pointwise one: a response's score is its win rate against a fixed opponent's response to the
// same prompt, over a game in each order (a tie, and a game without a verdict, counts half). This is what held-out
// scores, the choice of a checkpoint and `eval --against` mean under a pairwise judge.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "tpo/judge.h"
#include "tpo/samples.h"

namespace thinker {

class OpponentJudge : public Judge {
 public:
  explicit OpponentJudge(PairJudge& judge) : judge_(judge) {}

  /// The opponent's outputs, one a prompt; of two the first counts. One that did not parse loses to any response.
  /// Throws Error where two prompts are the same text: a view does not tell which of them it answers.
  void add(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& outputs);

  /// 0, 1/4, 1/2, 3/4 or 1. A response equal to the opponent's has 1/2 without being asked about. Neither game with a
  /// verdict: an error. Throws Error when the opponent has no output for a prompt.
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;

 private:
  PairJudge& judge_;
  struct Output {
    Json id;                        // of the prompt
    std::optional<JudgeView> view;  // none: did not parse
  };
  std::map<std::string, Output> opponent_;  // by the prompt's messages, which are all that a view tells of it
};

}  // namespace thinker
