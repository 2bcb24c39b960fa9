// A recipe: everything that decides what a run of the loop does, as one JSON file. The struct below mirrors it key by
// key; a key that is not given has the default written here, an unknown key is an error that names the nearest known
// one, and every error names the key's path ("dpo.beta"). The resolved recipe, all keys written out, is what a run
// leaves in recipe.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/lora.h"
#include "nn/schedule.h"
#include "tpo/dpo.h"
#include "tpo/jsonl.h"
#include "tpo/pairs.h"
#include "tpo/stages/pair.h"
#include "tpo/stages/sample.h"
#include "tpo/training.h"

namespace thinker {

/// Where prompts come from: a file, or a generator (then file is empty).
struct PromptSource {
  std::string file;
  std::string generator;  // "constraints"
  int64_t count = 0;      // of the generator

  bool given() const { return !file.empty() || !generator.empty(); }
};

enum class DeviceChoice { automatic, cpu, cuda };
enum class DtypeChoice { automatic, f32, bf16 };
/// As --device and --dtype name them.
const char* name(DeviceChoice device);
const char* name(DtypeChoice dtype);

enum class Reference { previous, seed };  // of iteration t: the model it starts from, or the first one's
enum class Select {
  judge,
  last
};  // the checkpoint that an iteration hands on: best on the select prompts, or the last

struct Recipe {
  std::string name;  // required; the run lives in runs/NAME
  uint64_t seed = 1;
  DeviceChoice device = DeviceChoice::automatic;
  DtypeChoice dtype = DtypeChoice::f32;
  std::string model;  // required

  struct {
    PromptSource train;   // required
    PromptSource select;  // required for select "judge"
    PromptSource test;    // none: no evaluation
  } prompts;

  std::string thought = "generic";  // a style's name or file
  Format format = Format::free;
  int64_t thought_budget = 96;  // tokens of thought, where the format is forced

  struct {
    int64_t samples = 128;  // 0, or "warmup": null: none. A run without thoughts (thought "none") has none either.
    int64_t epochs = 2;
    double lr = 1e-4;
  } warmup;

  int64_t iterations = 1;
  int64_t prompts_per_iteration = 128;  // fresh ones each time

  struct {
    int64_t k = 8;
    double temperature = 0.8, top_p = 0.95;
    int64_t max_new = 160;
  } sampling;

  Json judge = {{"kind", "rule"}};  // make_judge reads it

  struct {
    PairOptions options;
    bool auto_rho = false;  // "rho": "auto"
    LengthUnit length = LengthUnit::chars;
  } pairs;

  struct {
    DpoOptions options;
    Reference reference = Reference::previous;
    double lr = 5e-6;
    ScheduleKind schedule = ScheduleKind::linear;
    int64_t warmup = 4;  // steps
    int64_t batch = 16;  // pairs an optimizer step
    int64_t epochs = 2;
    int64_t steps = 0;  // optimizer steps of an iteration, in as many epochs as they take; 0: epochs decides
    double clip = 1.0;  // of the global gradient norm; 0: none
    double weight_decay = 0.0;
    OptimizerState optimizer_state = OptimizerState::f32;  // AdamW's moments, in the warm-up too
    int64_t micro_tokens = TrainOptions().micro_tokens;    // rows of one forward, in the warm-up too
  } dpo;

  std::optional<LoraOptions> lora;  // none ("lora": null): all weights are trained, in the warm-up too
  bool checkpoint_blocks = false;
  Select select = Select::judge;

  struct {
    double temperature = 0.8, top_p = 0.95;
    int64_t resample = 2;  // attempts more for an output that did not parse
  } eval;

  std::vector<std::string> log = {"jsonl"};
};

/// Fewer examples than these teach no format: the least warmup.samples, and the least of them to be complete.
constexpr int64_t kLeastWarmUp = 8;

/// Reads and validates. place is what errors begin with. Throws Error "PLACE: dpo.beta: reason".
Recipe parse_recipe(const Json& json, const std::string& place);

/// The same for a file, after overrides such as "dpo.beta=0.05" (the value is JSON; what is not JSON is a string).
Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides = {});

/// Sets one key of a recipe's JSON from "path.to.key=value", making the objects on the way.
void override_key(Json* json, const std::string& assignment);

/// Every key with its value. parse_recipe(recipe_to_json(r)) gives r back.
Json recipe_to_json(const Recipe& recipe);

}  // namespace thinker
