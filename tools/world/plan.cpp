#include "tools/world/plan.h"

#include "tensor/check.h"

namespace thinker::world {

namespace {

constexpr int64_t kSelectPrompts = 350;
constexpr int64_t kSteps = 36;  // an iteration, in every arm, whatever the number of its pairs
constexpr double kRho = 0.25;   // "auto" would choose 0: this judge has no taste for length

Recipe default_recipe() {
  Recipe r;
  r.warmup.samples = 0;  // the seed model knows the format
  r.iterations = 4;
  r.prompts_per_iteration = 1600;  // of the last iteration's, few give a pair
  r.sampling = {.k = 8, .temperature = 0.8, .top_p = 0.95, .max_new = 40};
  r.pairs.options.parse_failures = Failures::reject;  // as in the paper
  r.dpo.options.beta = 0.5;  // few pairs, met often: with 0.1 the model drifts on long after it has learnt them
  r.dpo.lr = 1e-4;
  r.dpo.schedule = ScheduleKind::linear;
  r.dpo.warmup = 2;
  r.dpo.batch = 16;
  r.dpo.steps = kSteps;
  r.select = Select::last;
  r.eval = {.temperature = 0.8, .top_p = 0.95, .resample = 2};
  return r;
}

/// Takes a key that is the demo's own out of a recipe's JSON.
Json take(Json& json, const char* key) {
  Json value = json.at(key);
  json.erase(key);
  return value;
}

}  // namespace

DemoPlan demo_plan(const std::vector<std::string>& overrides) {
  DemoPlan plan;
  Json json = recipe_to_json(default_recipe());
  json["seed_model"] = seed_plan_to_json(plan.seed_model);
  json["test_prompts"] = plan.test_prompts;
  for (const std::string& assignment : overrides) {
    const std::string key = assignment.substr(0, assignment.find_first_of(".="));
    for (const char* fixed : {"name", "seed", "model", "thought", "format", "warmup", "prompts"})
      if (key == fixed) fail("--set ", fixed, ": the demo sets it itself; `thinker train` takes any");
    if (key == "device") fail("--set device: use --device");
    override_key(&json, assignment);
  }

  plan.seed_model = parse_seed_plan(take(json, "seed_model"));
  const Json test = take(json, "test_prompts");
  if (!test.is_number_integer() || test < kCategories || test > 1000000)
    fail("--set test_prompts: is a number from ", kCategories, " to 1000000: one prompt at least of each kind of task");
  plan.test_prompts = test.get<int64_t>();
  // What a recipe must have and the arms fill in.
  json["name"] = json["model"] = "demo";
  json["prompts"] = {{"train", "demo"}};
  plan.recipe = parse_recipe(json, "--set");
  if (plan.recipe.iterations < 1)
    fail("--set iterations: must be at least 1: the demo's claims are about what training changes");
  if (plan.recipe.dpo.steps > 0 && plan.recipe.dpo.epochs != default_recipe().dpo.epochs)
    fail("--set dpo.epochs: the demo's arms train for dpo.steps steps each; set that, or dpo.steps=0 as well");
  return plan;
}

std::vector<Arm> arms(Extent extent) {
  std::vector<Arm> list = {{"thinking", "with thoughts (TPO)", true, false, true},
                           {"direct", "direct baseline", false, false, true}};
  if (extent == Extent::quick) return list;
  list.push_back({"thinking-rho", "with thoughts, length control", true, true, true});
  list.push_back({"useless", "useless thoughts only (W = 0)", true, false, false});
  list.push_back({"useless-direct", "direct, of the same seed (W = 0)", false, false, false});
  return list;
}

Recipe arm_recipe(const DemoPlan& plan, const Arm& arm, uint64_t seed, const std::string& model,
                  const std::string& thought) {
  Recipe r = plan.recipe;
  r.name = arm.name;
  r.seed = seed;
  r.model = model;
  r.thought = arm.thinks ? thought : "none";
  if (arm.length_control) r.pairs.options.rho = kRho;
  // For the reader of recipe.json; the demo makes the prompts itself.
  r.prompts = {};
  r.prompts.train = {"", "world", r.iterations * r.prompts_per_iteration};
  r.prompts.test = {"", "world", plan.test_prompts};
  if (r.select == Select::judge) r.prompts.select = {"", "world", kSelectPrompts};
  return r;
}

PromptSets demo_prompts(const DemoPlan& plan, uint64_t seed) {
  return {[seed](int64_t first, int64_t count) { return prompts(seed, Split::train, first, count); },
          prompts(seed, Split::select, 0, kSelectPrompts), prompts(seed, Split::test, 0, plan.test_prompts)};
}

}  // namespace thinker::world
