// Which kinds of thought (thoughts.h) the loop kept.
#pragma once

#include "tpo/report/arms.h"

namespace thinker::world {

/// A line a kind: its share of an arm's thoughts to the held-out prompts, by iteration. Under it a row for each
/// iteration and kind: its share of the thoughts sampled for training, of those chosen and of those rejected, and the
/// mean score of the responses behind it. All seeds together.
Exhibit kinds_of_thought(const report::Arm& arm);

}  // namespace thinker::world
