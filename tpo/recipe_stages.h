// What a recipe asks of each stage of the loop.
#pragma once

#include "tpo/recipe.h"
#include "tpo/stages/pair.h"
#include "tpo/stages/preference.h"
#include "tpo/stages/sample.h"
#include "tpo/training.h"

namespace thinker {

/// How many samples a run decodes at the same time: enough rows for efficient products; a tiny model needs more of
/// them, and they cost it little.
int64_t sampling_rows(int64_t parameters);

/// K outputs a prompt, for pairs.
SampleStage sampling_of(const Recipe& recipe, const ThoughtStyle& style, Format format, int64_t parameters);

/// Outputs on held-out prompts, after so many iterations.
SampleStage evaluation_of(const Recipe& recipe, const ThoughtStyle& style, Format format, int64_t iteration,
                          int64_t parameters);

/// One forced output a prompt, to learn the format from.
SampleStage warm_up_sampling_of(const Recipe& recipe, const ThoughtStyle& style, int64_t parameters);
TrainOptions warm_up_training_of(const Recipe& recipe);

PairStage pairing_of(const Recipe& recipe, const ThoughtStyle& style);

/// What does not depend on earlier iterations: all but the folders and the hooks.
PreferenceStage training_of(const Recipe& recipe, int64_t iteration);

}  // namespace thinker
