// The recipes of the demo's two arms: the same in everything but the thought.
#pragma once

#include "tpo/recipe.h"

namespace thinker::world {

enum class Arm { thinking, direct };

/// Held-out prompts of each evaluation, the same for both arms: a standard error of about 0.01.
inline constexpr int64_t kTestPrompts = 2100;

/// Everything but name, model and thought file, which depend on the folder. Quick: two iterations in place of four.
inline Recipe demo_recipe(uint64_t seed, bool quick) {
  Recipe r;
  r.seed = seed;
  r.device = DeviceChoice::automatic;
  // For the reader of recipe.json; the demo makes the prompts itself.
  r.prompts.train.generator = r.prompts.test.generator = "world";
  r.prompts.test.count = kTestPrompts;
  r.thought = "none";
  r.warmup.samples = 0;  // the seed model knows the format
  r.iterations = quick ? 2 : 4;
  r.prompts_per_iteration = 400;
  r.prompts.train.count = r.iterations * r.prompts_per_iteration;
  r.sampling.k = 8;
  r.sampling.temperature = 0.8;
  r.sampling.top_p = 0.95;
  r.sampling.max_new = 40;
  r.dpo.options.beta = 0.1;
  r.dpo.lr = 2e-4;
  r.dpo.schedule = ScheduleKind::linear;
  r.dpo.warmup = 4;
  r.dpo.batch = 32;
  r.dpo.epochs = 2;
  r.select = Select::last;
  r.eval.temperature = 0.8;
  r.eval.top_p = 0.95;
  r.eval.resample = 2;
  return r;
}

}  // namespace thinker::world
