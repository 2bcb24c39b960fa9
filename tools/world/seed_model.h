// The seed model of the small-scale reproduction: how it is made, and where a made one is kept.
#pragma once

#include <cstdint>
#include <string>

#include "nn/transformer.h"
#include "tools/world/seed_text.h"
#include "tpo/model.h"
#include "tpo/progress.h"
#include "tpo/training.h"

namespace thinker::world {

/// Everything that decides what the seed model becomes, besides the seed.
struct SeedPlan {
  SeedMix mix;
  int64_t width = 128, layers = 3;  // heads of 32, feed-forward of 2.5 times the width
  int64_t steps = 3500, batch = 64;
  double lr = 3e-3;
};

/// Every value by its name in SeedPlan and SeedMix.
Json seed_plan_to_json(const SeedPlan& plan);

/// The reverse; a value that is not given has its default. Throws Error "seed_model.KEY: reason", for an unknown key
/// with the nearest known one.
SeedPlan parse_seed_plan(const Json& json);

/// The plan whose seed knows useless thoughts only: no worked solution among its texts, direct answers and thoughts in
/// equal shares.
SeedPlan without_useful_thoughts(SeedPlan plan);

/// Llama's shape; 0.6 million weights by default.
Config seed_config(const SeedPlan& plan, int64_t vocabulary_size);

/// How it is trained.
TrainOptions seed_training(const SeedPlan& plan, uint64_t seed);

/// An untrained model. Its matrices begin with deviation 1/sqrt(width), more than four times the usual 0.02, which
/// is meant for widths of many hundreds: with that, the skills are learnt in a small part of the steps.
Transformer new_model(Device& device, const Config& config, uint64_t seed);

/// The folder, inside `folder`, of the seed model of that plan and seed. It is trained when it is not there yet; its
/// name is a fingerprint of plan and seed.
std::string seed_model_in(const std::string& folder, Device& device, const SeedPlan& plan, uint64_t seed,
                          const Progress& progress);

}  // namespace thinker::world
