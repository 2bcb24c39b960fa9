// The judging stage: every valid sample's response, and nothing else of it, is shown to the judge; to a pairwise judge
// all pairs of a prompt's responses, in both orders.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tpo/judge.h"
#include "tpo/judges/ifeval.h"
#include "tpo/progress.h"
#include "tpo/samples.h"

namespace thinker {

/// Judgments of all samples that parsed, in the samples' order. Throws Error when a sample's prompt is not in the list,
/// and when there are judgments but not one has a score: such a judge is broken, and nothing is to be kept of it.
std::vector<JudgmentRecord> judge_samples(Judge& judge, const std::vector<Prompt>& prompts,
                                          const std::vector<SampleRecord>& samples, const Progress& progress = {});

/// IFEval's accuracies over the samples whose prompts are of its format. One that did not parse follows nothing.
ifeval::Accuracy ifeval_accuracy(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples);

/// All games of each prompt's samples that parsed: for a < b in the samples' order, a first, then b first. K samples
/// play K (K - 1) games. Throws Error when a sample's prompt is not in the list, and when there are games but not one
/// has a verdict.
std::vector<GameRecord> play_games(PairJudge& judge, const std::vector<Prompt>& prompts,
                                   const std::vector<SampleRecord>& samples, const Progress& progress = {});

/// What a pairwise judge's games tell about the judge.
struct GameSummary {
  int64_t games = 0, errors = 0, ties = 0;  // ties: verdicts of a tie, failures not among them
  int64_t pairs = 0, consistent = 0;        // pairs with a verdict in both orders; those with the same one in both
  int64_t first_wins = 0, second_wins = 0;  // won by the response that was shown first, second

  /// Share of pairs whose two orders agree; nothing where there are none.
  std::optional<double> consistency() const { return share(consistent, pairs); }
  /// Share of decided games that went to the response shown first: one half is no bias.
  std::optional<double> first_rate() const { return share(first_wins, first_wins + second_wins); }

 private:
  static std::optional<double> share(int64_t part, int64_t whole) {
    if (whole == 0) return std::nullopt;
    return static_cast<double>(part) / static_cast<double>(whole);
  }
};

GameSummary summarise_games(const std::vector<GameRecord>& games);
Json game_summary_to_json(const GameSummary& summary);

}  // namespace thinker
