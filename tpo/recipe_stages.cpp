#include "tpo/recipe_stages.h"

namespace thinker {

int64_t sampling_rows(int64_t parameters) {
  constexpr int64_t kTinyModel = 20'000'000;
  return parameters < kTinyModel ? 256 : 64;
}

SampleStage sampling_of(const Recipe& recipe, const ThoughtStyle& style, Format format, int64_t parameters) {
  SampleStage stage;
  stage.style = style;
  stage.format = format;
  stage.thought_budget = recipe.thought_budget;
  stage.k = recipe.sampling.k;
  stage.max_new = recipe.sampling.max_new;
  stage.max_rows = sampling_rows(parameters);
  stage.sampling = {
      .temperature = recipe.sampling.temperature, .top_k = 0, .top_p = recipe.sampling.top_p, .min_p = 0.0};
  stage.seed = recipe.seed;
  return stage;
}

SampleStage evaluation_of(const Recipe& recipe, const ThoughtStyle& style, Format format, int64_t iteration,
                          int64_t parameters) {
  SampleStage stage = sampling_of(recipe, style, format, parameters);
  stage.sampling.temperature = recipe.eval.temperature;
  stage.sampling.greedy = recipe.eval.temperature == 0.0;
  stage.sampling.top_p = recipe.eval.top_p;
  stage.iteration = static_cast<uint32_t>(iteration);
  return stage;
}

SampleStage warm_up_sampling_of(const Recipe& recipe, const ThoughtStyle& style, int64_t parameters) {
  SampleStage stage = sampling_of(recipe, style, Format::forced, parameters);
  stage.k = 1;
  return stage;
}

TrainOptions warm_up_training_of(const Recipe& recipe) {
  TrainOptions train;
  train.lr = recipe.warmup.lr;
  train.schedule = ScheduleKind::linear;
  train.batch = 4;  // few examples: steps count for more than the smoothness of each
  train.epochs = recipe.warmup.epochs;
  train.seed = recipe.seed;
  train.adamw.state = recipe.dpo.optimizer_state;
  train.micro_tokens = recipe.dpo.micro_tokens;
  return train;
}

PairStage pairing_of(const Recipe& recipe, const ThoughtStyle& style) {
  return {recipe.pairs.options, recipe.pairs.auto_rho, recipe.pairs.length, style};
}

PreferenceStage training_of(const Recipe& recipe, int64_t iteration) {
  PreferenceStage stage;
  stage.loss = recipe.dpo.options;
  stage.train.lr = recipe.dpo.lr;
  stage.train.schedule = recipe.dpo.schedule;
  stage.train.warmup = recipe.dpo.warmup;
  stage.train.batch = recipe.dpo.batch;
  stage.train.epochs = recipe.dpo.epochs;
  stage.train.steps = recipe.dpo.steps;
  stage.train.seed = recipe.seed;
  stage.train.iteration = static_cast<uint32_t>(iteration);
  stage.train.adamw.clip = recipe.dpo.clip;
  stage.train.adamw.weight_decay = recipe.dpo.weight_decay;
  stage.train.adamw.state = recipe.dpo.optimizer_state;
  stage.train.micro_tokens = recipe.dpo.micro_tokens;
  stage.recompute = recipe.checkpoint_blocks ? Recompute::blocks : Recompute::nothing;
  stage.lora = recipe.lora;
  return stage;
}

}  // namespace thinker
