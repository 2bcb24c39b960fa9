// Comparing two models' outputs to the same prompts: who wins each. Under a pointwise judge the higher score wins;
// under a pairwise one our score is our share of the games, in both orders, already. Whatever the judge says, an output
// that did not parse loses to one that did, and two of them tie.
#pragma once

#include <string>
#include <vector>

#include "tpo/stages/evaluate.h"
#include "tpo/win_rate.h"

namespace thinker {

enum class WinBy { higher_score, share_of_games };

/// One contest for each prompt. Throws Error when the two sides are not of the same prompts in the same order.
std::vector<Contest> contests_of(const std::vector<EvalRecord>& ours, const std::vector<EvalRecord>& theirs, WinBy by);

/// games, unjudged, wins, ties, losses, win_rate with low and high, length_controlled {win_rate, low, high, theta,
/// phi}, categories.
Json win_summary_to_json(const WinSummary& summary);

}  // namespace thinker
