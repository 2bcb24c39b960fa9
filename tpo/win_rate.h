// Win rates of one model's outputs against another's to the same prompts: raw, by category, and controlled for length.
//
// Judges like long answers, so a model can raise its win rate by writing more. The length-controlled win rate asks what
// the judge would have said at equal lengths. It is AlpacaEval's logistic model (Dubois et al. 2024, arXiv 2404.04475,
// section 3) in its smallest form, without the difficulty of instructions, which only many models' games can tell:
//
//     P(win on prompt i) = sigmoid(theta + phi · tanh(d_i / sd(d))),   d_i = our length - theirs
//     LC win rate        = sigmoid(theta)                              the length term set to 0
//
// theta and phi minimise the cross-entropy to the wins (1, 0, a tie 1/2) plus lambda/2 · (theta² + phi²), lambda = 0.01
// as in the Bradley-Terry scores: with it, theta is defined for a model that always wins. sd has the divisor n - 1; as
// in AlpacaEval, d is not centred, so that swapping the two models gives 1 - LC, and equal outputs give 1/2.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "tpo/statistics.h"

namespace thinker {

/// One prompt.
struct Contest {
  std::string category;
  std::optional<double> win;     // from 0 to 1, a tie 1/2; none: the judge failed, which is neither a win nor a loss
  double length_difference = 0;  // ours - theirs, in code points; 0 where one of them has no response
};

/// theta and phi of the model above. Without any difference in length, phi is 0.
struct LengthFit {
  double theta = 0, phi = 0;
  double win_rate() const;  // at equal lengths
};

/// Newton's method on the two parameters; the objective is strictly convex. wins: in [0, 1].
LengthFit fit_length(std::span<const double> wins, std::span<const double> length_differences);

struct CategoryWins {
  int64_t prompts = 0;
  double rate = 0;
  Interval interval{0, 0};
};

struct WinSummary {
  int64_t games = 0;     // prompts with a verdict
  int64_t unjudged = 0;  // left out
  WinCounts counts;
  double rate = 0.5;  // mean of the wins; one half for no games
  Interval interval{0, 0};
  LengthFit length;  // length.win_rate() is the length-controlled win rate
  Interval length_interval{0, 0};
  std::map<std::string, CategoryWins> categories;
};

/// Intervals are of 95 %, by bootstrap over prompts; the length-controlled one fits each resample anew.
WinSummary summarise_wins(std::span<const Contest> contests, uint64_t seed);

}  // namespace thinker
