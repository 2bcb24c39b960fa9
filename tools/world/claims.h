// What the small-scale reproduction claims, checked on its own runs. Each claim is held or not by a rule that is
// written down here before any run; nothing is left out of the page when it does not hold.
//
//   a  set-up   the seed model is worse when told to think (Figure 3 at iteration 0).
//               Held: thinking - direct at iteration 0 has its interval below 0 in every seed.
//   b           The curves cross, and TPO ends above the direct baseline (Figure 3).
//               Held: thinking - direct, over all seeds, is below 0 at iteration 0; at some later iteration its
//               interval lies above 0 (the first such one is the crossing); and after the last iteration the interval
//               of each seed by itself lies above 0.
//   c           The gain is where there are steps to follow, and nothing is lost elsewhere (Figure 4).
//               Held: after the last iteration, thinking - direct has its interval above 0 in each category where
//               thinking should help, and in each other one the interval's upper end is not below 0: thinking is not
//               significantly worse there.
//   d           Thoughts get shorter, and with length control responses do not grow.
//               Held: the interval of the thoughts' mean length after the last iteration lies below that of the seed
//               model; and, where there is an arm with length control, the interval of its responses' length does not
//               lie above that of the seed model.
//   e           Parse failures fall.
//               Held: the interval of the share of outputs that parse lies above that of the seed model.
//   f           The judge never saw a thought.
//               Held: of all views that the judges were sent, and there is at least one, each holds the user's messages
//               and what follows the marker in the model's output (cut anew here), and nothing else.
//   g           With useless thoughts only (W = 0), thinking does not pass direct: it is the thoughts that help.
//               Held: after the last iteration the lower end of thinking - direct is not above 0, over all seeds and in
//               each by itself.
//
// The numbers are those of the report (tpo/report/arms.h), with the report's 95 % intervals: a difference between arms
// is taken prompt by prompt, since all arms of a seed answer the same held-out prompts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tpo/report/arms.h"

namespace thinker::world {

/// The arms' finished runs by the arms' names (plan.h).
using ArmsByName = std::map<std::string, report::Arm>;

/// Claims d (second half) and g need arms that a quick demo has not: they are then left out.
std::vector<Claim> check_claims(const ArmsByName& arms);

}  // namespace thinker::world
