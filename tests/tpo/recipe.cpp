#include "tpo/recipe.h"

#include <doctest/doctest.h>

#include "tensor/check.h"

using namespace thinker;

namespace {

/// The recipe of the interface page, every key given.
const char* const kEveryKey = R"({
  "name": "smollm2-cpu", "seed": 1, "device": "auto", "dtype": "f32",
  "model": "models/SmolLM2-135M-Instruct.Q4_1.gguf",
  "prompts": {"train": {"generator": "constraints", "count": 128}, "select": "select.jsonl", "test": "test.jsonl"},
  "thought": "generic",
  "format": "free", "thought_budget": 96,
  "warmup": {"samples": 128, "epochs": 2, "lr": 1e-4},
  "iterations": 1, "prompts_per_iteration": 128,
  "sampling": {"k": 8, "temperature": 0.8, "top_p": 0.95, "max_new": 160},
  "judge": {"kind": "rule"},
  "pairs": {"rho": 0.0, "length": "chars", "parse_failures": "drop", "truncated": "drop"},
  "dpo": {"loss": "sigmoid", "beta": 0.1, "nll": 0.0, "label_smoothing": 0.0, "reference": "previous", "lr": 5e-6,
          "schedule": "linear", "warmup": 4, "batch": 16, "epochs": 2, "steps": 0, "clip": 1.0, "weight_decay": 0.0,
          "optimizer_state": "f32", "micro_tokens": 2048},
  "lora": null, "checkpoint_blocks": false,
  "select": "judge", "eval": {"temperature": 0.8, "top_p": 0.95, "resample": 2},
  "log": ["jsonl"]
})";

Recipe parsed(const std::vector<std::string>& overrides, const char* text = kEveryKey) {
  Json json = Json::parse(text);
  for (const auto& o : overrides) override_key(&json, o);
  return parse_recipe(json, "r.json");
}

void refuses(const char* assignment, const char* message) {
  INFO(assignment);
  CHECK_THROWS_WITH_AS(parsed({assignment}), doctest::Contains(message), Error);
}

}  // namespace

TEST_CASE("recipe: every key round-trips, in the interface's order") {
  CHECK(recipe_to_json(parsed({})).dump() == Json::parse(kEveryKey).dump());
  const std::vector<std::string> others = {"seed=18446744073709551615",
                                           "device=cuda",
                                           "dtype=bf16",
                                           "thought=none",
                                           "warmup=null",
                                           "pairs.rho=auto",
                                           "pairs.length=tokens",
                                           "pairs.parse_failures=reject",
                                           "pairs.truncated=reject",
                                           "dpo.loss=robust",
                                           "dpo.label_smoothing=0.1",
                                           "dpo.reference=seed",
                                           "dpo.schedule=cosine",
                                           "dpo.optimizer_state=8bit",
                                           "select=last",
                                           "prompts.select=null",
                                           "prompts.train=train.jsonl",
                                           "checkpoint_blocks=true",
                                           "judge={\"kind\": \"command\", \"command\": \"./j\"}"};
  const Recipe changed = parsed(others);
  CHECK(changed.pairs.auto_rho);
  CHECK(changed.warmup.samples == 0);
  CHECK(changed.dpo.options.loss == DpoLoss::robust);
  CHECK(changed.dpo.schedule == ScheduleKind::cosine);
  CHECK(changed.dpo.optimizer_state == OptimizerState::eight_bit);
  CHECK(changed.pairs.length == LengthUnit::tokens);
  CHECK(changed.seed == 18446744073709551615u);
  const Json dumped = recipe_to_json(changed);
  CHECK(recipe_to_json(parse_recipe(dumped, "r.json")) == dumped);
  CHECK(recipe_to_json(parse_recipe(Json::parse(dump_json(dumped)), "r.json")) == dumped);
}

TEST_CASE("recipe: the shortest one has the defaults of the interface") {
  const Recipe recipe = parsed({}, R"({"name": "smollm2-cpu", "model": "models/SmolLM2-135M-Instruct.Q4_1.gguf",
    "prompts": {"train": {"generator": "constraints", "count": 128}, "select": "select.jsonl", "test": "test.jsonl"}})");
  CHECK(recipe_to_json(recipe).dump() == Json::parse(kEveryKey).dump());
}

TEST_CASE("recipe: overrides") {
  CHECK(parsed({"dpo.beta=0.05"}).dpo.options.beta == 0.05);
  CHECK(parsed({"dpo.beta=0.05", "dpo.beta=0.2"}).dpo.options.beta == 0.2);
  CHECK(parsed({"prompts.train.count=256"}).prompts.train.count == 256);
  CHECK(parsed({"thought=specific"}).thought == "specific");
  CHECK(parsed({"name=\"7\""}).name == "7");
  refuses("dpo.beta", "write it as dpo.beta=0.05");
  refuses("=1", "write it as");
  refuses("dpo..beta=1", "is empty");
  refuses("seed.x=1", "seed is not an object");
  refuses("name=\xff", "--set name: is not UTF-8");
  refuses("na\xffme=1", "--set na?me: is not UTF-8");
  refuses("prompts.test.count=3", "prompts.test is not an object");
}

TEST_CASE("recipe: unknown keys name the nearest known one") {
  refuses("dpo.bta=1", "r.json: dpo.bta: unknown key; did you mean dpo.beta?");
  refuses("samplng={}", "samplng: unknown key; did you mean sampling?");
  refuses("beta=0.1", "beta: unknown key; did you mean dpo.beta?");
  refuses("prompts.train.cuont=3", "prompts.train.cuont: unknown key; did you mean prompts.train.count?");
  refuses("judge.knd=rule", "judge.knd: unknown key");
}

TEST_CASE("recipe: wrong types and values name the path") {
  refuses("dpo.beta=\"high\"", "r.json: dpo.beta: is not a number");
  refuses("dpo.beta=0", "dpo.beta: is 0; it must be above 0");
  refuses("dpo.batch=1.5", "dpo.batch: is not an integer");
  refuses("dpo=3", "dpo: is not an object");
  refuses("seed=-1", "seed: is not an integer of at least 0");
  refuses("sampling.top_p=1.5", "sampling.top_p: is 1.5; it must be above 0 and at most 1");
  refuses("dpo.micro_tokens=0", "dpo.micro_tokens: is 0; it must be at least 1");
  refuses("sampling.k=1", "sampling.k: is 1; it must be from 2");
  refuses("sampling.max_new=1e30", "is not an integer");
  refuses("sampling.max_new=9000000000000", "not absurdly large");
  refuses("pairs.rho=0.7", "from 0 to 0.5");
  refuses("pairs.rho=most", "or \"auto\"");
  refuses("dpo.loss=sigmod", "dpo.loss: \"sigmod\" is unknown; did you mean \"sigmoid\"?");
  refuses("dpo.optimizer_state=\"8bits\"", "did you mean \"8bit\"");
  refuses("checkpoint_blocks=1", "is not true or false");
  refuses("checkpoint_blocks=yes", "is not true or false");
  refuses("log=[\"csv\"]", "did you mean \"jsonl\"");
  refuses("prompts.train=3", "prompts.train: is a file's name or");
  refuses("prompts.train={\"generator\": \"poems\", \"count\": 3}", "the only one is \"constraints\"");
  refuses("thought=genric", "did you mean \"generic\"");
  refuses("name=null", "name: is not a string");
  refuses("name=a/b", "name: must not hold");
  CHECK_THROWS_WITH_AS(parse_recipe(Json::parse("[]"), "r.json"), doctest::Contains("JSON object"), Error);
  CHECK_THROWS_WITH_AS(parse_recipe(Json::parse("{}"), "r.json"), doctest::Contains("name: missing"), Error);
}

TEST_CASE("recipe: adapters are none, or an object with defaults for what is not given") {
  CHECK(!parsed({}).lora);
  const Recipe some = parsed({"lora={}"}), few = parsed({"lora.rank=8", "lora.targets=[\"v_proj\", \"q_proj\"]"});
  REQUIRE(some.lora);
  CHECK(some.lora->rank == 16);
  CHECK(some.lora->alpha == 32);
  CHECK(some.lora->targets == lora_targets());
  REQUIRE(few.lora);
  CHECK(few.lora->rank == 8);
  CHECK(few.lora->targets == std::vector<std::string>{"v_proj", "q_proj"});
  for (const Recipe& r : {some, few}) CHECK(recipe_to_json(parse_recipe(recipe_to_json(r), "r")) == recipe_to_json(r));
  refuses("lora=16", "lora: is not an object");
  refuses("lora.rank=0", "lora.rank: is 0; it must be from 1 to 65536");
  refuses("lora.rank=1.5", "lora.rank: is not an integer");
  refuses("lora.alpha=0", "lora.alpha: is 0; it must be above 0");
  refuses("lora.targets=\"q_proj\"", "lora.targets: is not a list");
  refuses("lora.targets=[]", "lora.targets: is empty");
  refuses("lora.targets=[\"q_prj\"]", "lora.targets: \"q_prj\" is unknown; did you mean \"q_proj\"?");
  refuses("lora.targets=[\"q_proj\", \"q_proj\"]", "lora.targets: names \"q_proj\" twice");
  refuses("lora.dropout=0.1", "lora.dropout: unknown key");
  refuses("lora.rnak=4", "did you mean lora.rank?");
  refuses("rank=4", "did you mean lora.rank?");
}

TEST_CASE("recipe: what is not available says so, and keys must fit together") {
  refuses("judge={\"kind\": \"pairwise\"}", "judge.model: missing");
  refuses("judge={\"kind\": \"rles\"}", "did you mean \"rule\"");
  refuses("dpo.label_smoothing=0.1", "choose cdpo or robust");  // trap 3
  refuses("warmup.samples=7", "r.json: warmup.samples: is 7; it must be at least 8, or 0 for no warm-up");
  CHECK(parsed({"warmup.samples=8"}).warmup.samples == 8);
  refuses("iterations=3", "3 iterations of 128 fresh prompts need 384");
  refuses("prompts.select=null", "prompts.select: missing");
  CHECK_THROWS_WITH_AS(parsed({"format=forced", "thought=none"}), doctest::Contains("needs a thought style"), Error);
  // Trap 38: evaluation on the training prompts.
  CHECK_THROWS_WITH_AS(parsed({"prompts.train=a.jsonl", "prompts.test=a.jsonl"}), doctest::Contains("hold prompts out"),
                       Error);
}
