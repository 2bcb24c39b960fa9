// What the small-scale reproduction claims, checked on its own runs. Each claim is held or not by a rule that is
// written down here before any run; nothing is left out of the page when it does not hold.
//
//   a  set-up   the seed model is worse when told to think (Figure 3 at iteration 0)
//   b           the curves cross, and TPO ends above the direct baseline (Figure 3)
//   c           the gain is where there are steps to follow, and nothing is lost elsewhere (Figure 4)
//   d           thoughts get shorter, and with length control responses do not grow
//   e           parse failures fall
//   f           the judge never saw a thought
//   g           with useless thoughts only (W = 0), thinking does not pass direct: it is the thoughts that help
//
// A difference between arms is taken prompt by prompt, since all arms of a seed answer the same held-out prompts; its
// interval is the bootstrap's 95 % over the prompts of all seeds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tpo/report/experiment.h"
#include "tpo/report/run_data.h"

namespace thinker::world {

/// One seed's finished runs, by the arms' names (plan.h).
using SeedRuns = std::map<std::string, report::RunData>;

/// An arm's score after an iteration (0: before training, in the arm's own style) over the prompts of all seeds.
report::Measured mean_score(const std::vector<SeedRuns>& seeds, const std::string& arm, int64_t iteration);

/// Claims d (second half) and g need arms that a quick demo has not: they are then left out.
std::vector<Claim> check_claims(const std::vector<SeedRuns>& seeds);

}  // namespace thinker::world
