// What the small-scale reproduction claims, checked on its own runs. Each claim is held or not by a rule that is
// written down here before any run; nothing is left out of the page when it does not hold.
//
//   a  set-up   the seed model is worse when told to think (Figure 3 at iteration 0), in every seed
//   b           the curves cross, and TPO ends above the direct baseline (Figure 3), in every seed
//   c           the gain is where there are steps to follow, and nothing is lost elsewhere (Figure 4)
//   d           thoughts get shorter, and with length control responses do not grow
//   e           parse failures fall
//   f           the judge never saw a thought
//   g           with useless thoughts only (W = 0), thinking does not pass direct, in any seed: it is the thoughts that
//               help
//
// The numbers are those of the report (tpo/report/arms.h), with the report's intervals: a difference between arms is
// taken prompt by prompt, since all arms of a seed answer the same held-out prompts.
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
