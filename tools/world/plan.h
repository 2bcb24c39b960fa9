// What the small-scale reproduction runs: its arms, and every number that a reader may want to change.
#pragma once

#include <string>
#include <vector>

#include "tools/world/seed_model.h"
#include "tpo/recipe.h"
#include "tpo/run.h"

namespace thinker::world {

struct DemoPlan {
  SeedPlan seed_model;
  int64_t test_prompts = 2100;  // held out, the same for all arms: a standard error of about 0.01
  Recipe recipe;                // of every arm; name, seed, model, thought and prompts are filled in for each
};

/// The plan with overrides such as "sampling.k=4", "judge.noise=0.3" or "seed_model.useful=0.05": a recipe's keys, and
/// those of DemoPlan. Throws Error that names the key and what it may be.
DemoPlan demo_plan(const std::vector<std::string>& overrides = {});

/// One arm: the same loop from the seed model in all but these.
struct Arm {
  std::string name, label;
  bool thinks;          // the model is asked to think first
  bool length_control;  // rho 0.25
  bool useful_seed;     // the seed model has met useful thoughts; without: see without_useful_thoughts
};

/// The two that tell the story, and, where the demo is not quick, those that test it.
enum class Extent { quick, full };
std::vector<Arm> arms(Extent extent);

/// The recipe of one arm and seed, for a seed model in `model` and the thought style's file in `thought`.
Recipe arm_recipe(const DemoPlan& plan, const Arm& arm, uint64_t seed, const std::string& model,
                  const std::string& thought);

/// The prompts of one seed: fresh training prompts for every iteration, and the held-out ones.
PromptSets demo_prompts(const DemoPlan& plan, uint64_t seed);

}  // namespace thinker::world
