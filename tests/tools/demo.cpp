// What the demo is made of besides its tasks: the plan that --set changes, and the claims, on runs made by hand.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "tensor/check.h"
#include "tests/tensor/temp_folder.h"
#include "tools/world/claims.h"
#include "tools/world/kinds.h"
#include "tools/world/plan.h"
#include "tools/world/world.h"

using namespace thinker;
using namespace thinker::world;

namespace {

std::string error_of_set(const std::string& assignment) {
  return error_of([&] { demo_plan({assignment}); });
}

/// How a run made by hand turns out: a score for each category, lengths, and the share of outputs that do not parse.
struct Made {
  double helped, other;  // of the categories where thinking helps, and of the others
  int64_t thought = 10, response = 5;
  double failed = 0.0;
};

constexpr int64_t kPrompts = 700;  // 100 of each category

report::Evaluation evaluation(report::Stage stage, int64_t iteration, const Made& made) {
  std::vector<EvalRecord> records;
  for (int64_t i = 0; i < kPrompts; ++i) {
    const auto category = static_cast<Category>(i % kCategories);
    const double share = static_cast<double>(i / kCategories) / (kPrompts / kCategories);
    EvalRecord r;
    r.sample.id = i;
    r.category = name(category);
    r.judged.score = share < (thinking_helps(category) ? made.helped : made.other) ? 1.0 : 0.0;
    r.sample.split = {std::string(made.thought, 't'), std::string(made.response, 'r'), Parse::ok};
    r.attempts = share < made.failed ? 2 : 1;
    r.first_parse = share < made.failed ? Parse::no_marker : Parse::ok;
    records.push_back(std::move(r));
  }
  return report::evaluation_of(stage, iteration, "", std::move(records), 1);
}

/// What a judge was sent of a text, as a run leaves it.
void write_judgment(const std::string& folder, const Json& view) {
  JudgmentRecord judgment;
  judgment.id = "p";
  judgment.view = view;
  judgment.judged.score = 1.0;
  std::filesystem::create_directories(folder + "/iter-1");
  write_jsonl(folder + "/iter-1/judgments.jsonl", std::vector{judgment}, judgment_to_json);
}

Json view_of(const std::string& question, const std::string& seen) {
  return {{"prompt", {{{"role", "user"}, {"content", question}}}}, {"response", seen}};
}

report::RunData run(bool thinks, const Made& before, const Made& after, uint64_t seed = 0) {
  static const TempFolder folder;
  static int64_t runs = 0;
  report::RunData r;
  r.folder = folder / std::to_string(++runs);
  r.thinks = thinks;
  r.seed = seed;
  r.evaluations = {evaluation(report::Stage::seed, 0, before), evaluation(report::Stage::iteration, 1, after)};
  r.iterations.resize(1);
  r.iterations[0].iteration = 1;
  r.iterations[0].prompts.resize(1);
  r.iterations[0].prompts[0].id = Json("p");
  r.iterations[0].prompts[0].messages = {{"user", "Repeat bcd."}};
  r.iterations[0].samples.resize(1);
  r.iterations[0].samples[0].id = "p";
  r.iterations[0].samples[0].text = thinks ? "Draft: bcd<R> bcd" : "bcd";
  write_judgment(r.folder, view_of("Repeat bcd.", "bcd"));
  return r;
}

/// One seed's runs by arm.
using SeedRuns = std::map<std::string, report::RunData>;

std::vector<Claim> claims_of(const std::vector<SeedRuns>& seeds) {
  ArmsByName arms;
  for (const SeedRuns& runs : seeds) {
    for (const auto& [name, run] : runs) {
      arms[name].label = name;
      arms[name].runs.push_back(&run);
    }
  }
  return check_claims(arms);
}

/// A story in which every claim holds.
std::vector<SeedRuns> good() {
  SeedRuns runs;
  runs["thinking"] = run(true, {.1, .6, 70, 5, .06}, {.9, .95, 30, 5, .0});
  runs["thinking-rho"] = run(true, {.1, .6, 70, 5, .06}, {.9, .95, 30, 5, .0});
  runs["direct"] = run(false, {.2, .7, 0, 5}, {.2, .95, 0, 5});
  runs["useless"] = run(true, {.1, .6}, {.2, .9});
  runs["useless-direct"] = run(false, {.2, .7}, {.2, .95});
  std::vector<SeedRuns> seeds = {runs, runs, runs};
  for (size_t i = 0; i < seeds.size(); ++i)
    for (auto& [name, run] : seeds[i]) run.seed = i;
  return seeds;
}

/// The ids of the claims that do not hold.
std::string broken(const std::vector<SeedRuns>& seeds) {
  std::string ids;
  for (const Claim& claim : claims_of(seeds))
    if (!claim.held) ids += claim.id;
  return ids;
}

std::string broken_with(const std::function<void(SeedRuns&)>& change, size_t seed = 0) {
  std::vector<SeedRuns> seeds = good();
  change(seeds[seed]);
  return broken(seeds);
}

}  // namespace

TEST_CASE("demo: --set reaches the recipe, the judge, the seed model and the test prompts") {
  const DemoPlan plan = demo_plan({"sampling.k=4", "dpo.beta=0.3", "pairs.rho=0.2", "judge.noise=0.5",
                                   "seed_model.useful=0.05", "seed_model.width=64", "seed_model.layers=2",
                                   "prompts_per_iteration=70", "test_prompts=140", "dtype=bf16"});
  CHECK(plan.recipe.dtype == DtypeChoice::bf16);
  CHECK(plan.recipe.sampling.k == 4);
  CHECK(plan.recipe.dpo.options.beta == 0.3);
  CHECK(plan.recipe.pairs.options.rho == 0.2);
  CHECK(plan.recipe.judge.at("noise") == 0.5);
  CHECK(plan.seed_model.mix.useful == 0.05);
  CHECK(plan.seed_model.layers == 2);
  CHECK(seed_config(plan.seed_model, 300).heads == 2);
  CHECK(plan.test_prompts == 140);
  CHECK(demo_prompts(plan, 3).test.size() == 140);
  CHECK(demo_prompts(plan, 3).train(70, 70).size() == 70);
  CHECK(parse_seed_plan(seed_plan_to_json(plan.seed_model)).mix.useful == 0.05);
}

TEST_CASE("demo: a wrong --set names the key and the remedy") {
  CHECK(error_of_set("dpo.betta=1").find("did you mean dpo.beta?") != std::string::npos);
  CHECK(error_of_set("seed_model.usefull=1") == "seed_model.usefull: unknown key; did you mean useful?");
  CHECK(error_of_set("seed_model.useful=2") == "seed_model.useful: is 2; it must be from 0 to 1");
  CHECK(error_of_set("seed_model.width=100").find("multiple of 32") != std::string::npos);
  CHECK(error_of_set("seed_model.layers=2.5") == "seed_model.layers: is not an integer");
  CHECK(error_of_set("seed_model.worked=0.9").find("together at most 1") != std::string::npos);
  CHECK(error_of_set("dpo.epochs=4").find("dpo.steps") != std::string::npos);
  for (const char* few : {"test_prompts=0", "test_prompts=6"})
    CHECK(error_of_set(few) ==
          "--set test_prompts: is a number from 7 to 1000000: one prompt at least of each kind of task");
  CHECK(error_of_set("test_prompts=7") == "");
  CHECK(error_of_set("iterations=0").find("--set iterations: must be at least 1") != std::string::npos);
  CHECK(error_of_set("device=cuda") == "--set device: use --device");
  for (const char* as_it_is : {"seed=1", "thought=generic", "prompts={}"})  // else it would be taken for done
    CHECK(error_of_set(as_it_is).find("the demo sets it itself") != std::string::npos);
  CHECK(error_of_set("prompts.train=x.jsonl").find("--set prompts") != std::string::npos);
}

TEST_CASE("demo: all arms have the same recipe but for the thought, length control and the seed model") {
  const DemoPlan plan = demo_plan();
  const std::vector<Arm> all = arms(Extent::full);
  REQUIRE(all.size() == 5);
  REQUIRE(arms(Extent::quick).size() == 2);
  CHECK(plan.recipe.dpo.steps > 0);  // not epochs: their steps would differ with the arm's pairs
  const Json first = recipe_to_json(arm_recipe(plan, all[0], 11, "m", "t"));
  for (const Arm& arm : all) {
    Json json = recipe_to_json(arm_recipe(plan, arm, 11, "m", "t"));
    CHECK(json["thought"] == (arm.thinks ? "t" : "none"));
    CHECK((json["pairs"]["rho"] == 0.25) == arm.length_control);
    json["name"] = first["name"];
    json["thought"] = first["thought"];
    json["pairs"]["rho"] = first["pairs"]["rho"];
    CHECK(json == first);
  }
}

TEST_CASE("claims: each holds on a story that tells it, and says where its numbers come from") {
  const std::vector<Claim> claims = claims_of(good());
  REQUIRE(claims.size() == 7);
  CHECK(broken(good()) == "");
  for (const Claim& claim : claims) CHECK((claim.kind == Claim::Kind::set_up) == (claim.id == "a"));
  CHECK(claims[1].text.find("cross at iteration 1") != std::string::npos);
  CHECK(claims[5].text.find("of 15 views") != std::string::npos);
}

TEST_CASE("claims: each fails where its story does, in one seed of three too where every seed must tell it") {
  CHECK(broken_with([](SeedRuns& s) { s["thinking"].evaluations[0] = s["direct"].evaluations[0]; }).starts_with("a"));
  CHECK(broken_with([](SeedRuns& s) { s["thinking"].evaluations[1] = s["direct"].evaluations[1]; }, 2).find('b') !=
        std::string::npos);
  const auto in_all = [](const std::string& arm, const Made& before, const Made& after) {
    std::vector<SeedRuns> seeds = good();
    for (size_t i = 0; i < seeds.size(); ++i) seeds[i][arm] = run(true, before, after, i);
    return broken(seeds);
  };
  CHECK(in_all("thinking", {.1, .6, 70, 5, .06}, {.9, .90, 30, 5, .0}) == "c");
  CHECK(in_all("thinking", {.1, .6, 20, 5, .06}, {.9, .95, 30, 5, .0}) == "d");
  CHECK(in_all("thinking-rho", {.1, .6, 70, 5, .06}, {.9, .95, 30, 7, .0}) == "d");
  CHECK(in_all("thinking", {.1, .6, 70, 5, .06}, {.9, .95, 30, 5, .06}) == "e");
  CHECK(in_all("useless", {.1, .6}, {.3, .95}) == "g");
  CHECK(broken_with([](SeedRuns& s) { s["useless"] = run(true, {.1, .6}, {.3, .95}, 1); }, 1) == "g");
}

TEST_CASE("claims: one view with a thought, a thought prompt or another response is seen") {
  const auto judged = [](const std::string& text, const Json& view) {
    return broken_with(
        [&](SeedRuns& s) {
          s["thinking"].iterations[0].samples[0].text = text;
          write_judgment(s["thinking"].folder, view);
        },
        1);
  };
  CHECK(judged("Draft: bcd<R>bcd", view_of("Repeat bcd.", "bcd")) == "");
  CHECK(judged("Draft: bcd<R>bcd", view_of("Repeat bcd.", "Draft: bcd<R>bcd")) == "f");
  CHECK(judged("Draft: bcd<R>bcd", view_of("Repeat bcd.", "other")) == "f");
  CHECK(judged("no marker", view_of("Repeat bcd.", "no marker")) == "f");
  CHECK(judged("Draft: bcd<R>bcd", view_of("Think first. Repeat bcd.", "bcd")) == "f");
  Json with_thought = view_of("Repeat bcd.", "bcd");
  with_thought["thought"] = "Draft: bcd";
  CHECK(judged("Draft: bcd<R>bcd", with_thought) == "f");
}

TEST_CASE("kinds of thought: shares of what was sampled, chosen and rejected, and the scores behind them") {
  report::RunData r = run(true, {.1, .6}, {.9, .95});
  report::IterationData& data = r.iterations[0];
  const char* thoughts[] = {"Draft: bcd", "Draft: dcb", "=north 1)left=west", "What is being asked?"};
  data.samples.clear();
  for (int64_t i = 0; i < 4; ++i) {
    SampleRecord s;
    s.id = "p";
    s.sample = i;
    s.split = {thoughts[i], "bcd", Parse::ok};
    data.samples.push_back(s);
    JudgmentRecord j;
    j.id = "p";
    j.sample = i;
    if (i != 2) j.judged.score = i == 0 ? 1.0 : 0.0;
    data.judgments.push_back(j);
  }
  data.pairs = {{"p", 0, 3}};
  const Exhibit exhibit = kinds_of_thought({"thinking", {&r}});
  REQUIRE(exhibit.rows.size() == 5);
  using Row = std::vector<std::string>;
  CHECK(exhibit.rows[0] == Row{"iteration 1, worked", "25.0", "0.0", "0.0", "-"});
  CHECK(exhibit.rows[1] == Row{"iteration 1, draft", "50.0", "100.0", "0.0", "0.500"});
  CHECK(exhibit.rows[3] == Row{"iteration 1, ramble", "25.0", "0.0", "100.0", "0.000"});
  REQUIRE(exhibit.lines.size() == 5);
  CHECK(exhibit.lines[4].values == std::vector<double>{100, 100});  // the held-out thoughts made above: "ttt…"
}
