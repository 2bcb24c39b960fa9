// From the recipe to the stages: what a run draws, pairs and trains is what the stages make of the recipe's numbers,
// which are written out here a second time. Each number matters: without it, something else comes out.
#include <functional>
#include <set>

#include "tensor/file.h"
#include "tests/tpo/http_server.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/stages/evaluate.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/preference.h"
#include "tpo/step_log.h"

using namespace thinker;
using tiny::log_of;
using tiny::World;

namespace fs = std::filesystem;

namespace {

const World& world() {
  static const World shared;
  return shared;
}

/// Runs one iteration without anything held out, and gives its folder.
std::string run_once(std::vector<std::string> overrides, const std::string& name) {
  overrides.insert(overrides.begin(), {"iterations=1", "select=last", "prompts.select=null", "prompts.test=null"});
  fs::remove_all(world().folder / name);
  world().run(world().recipe(overrides), name);
  return world().folder / name;
}

template <class Record, class ToJson>
std::string text_of(const std::vector<Record>& records, const ToJson& to_json) {
  return to_lines(std::span(records), to_json);
}

std::vector<Prompt> part_of(const std::vector<Prompt>& prompts, int64_t begin, int64_t end) {
  return {prompts.begin() + begin, prompts.begin() + end};
}

/// One thing changed: in the recipe, and by hand.
template <class Stage>
struct Change {
  std::string setting;
  std::function<void(Stage&)> by_hand;
};

/// The training of the tiny world's recipe, in its first iteration.
PreferenceStage training() {
  PreferenceStage stage;
  stage.loss = {.loss = DpoLoss::sigmoid, .beta = 0.1, .label_smoothing = 0.0, .nll = 0.0};
  stage.train.lr = 1e-3;
  stage.train.schedule = ScheduleKind::linear;
  stage.train.warmup = 1;
  stage.train.batch = 3;
  stage.train.epochs = 2;
  stage.train.steps = 0;
  stage.train.micro_tokens = 2048;
  stage.train.seed = 1;
  stage.train.iteration = 1;
  stage.train.adamw.clip = 1.0;
  stage.train.adamw.weight_decay = 0.0;
  stage.train.adamw.state = OptimizerState::f32;
  return stage;
}

/// The weights that the stage makes of the tiny world's model.
Values trained_by_hand(const std::vector<IdPair>& pairs, const PreferenceStage& stage) {
  Model model = world().open();
  if (stage.lora) add_lora(model.net, *stage.lora, stage.train.seed, stage.train.iteration);
  const auto reference = reference_logps_of_start(model.net, pairs, stage.train);
  AdamW optimizer(model.net, stage.train.adamw);
  train_dpo(model.net, optimizer, pairs, reference, ReferenceIs::start, stage.loss, stage.train, {});
  Values weights;
  model.net.visit([&](const std::string& name, const Tensor& w) { weights[name] = host_values(merged(model.net, w)); });
  return weights;
}

std::string weights_file(const std::string& folder) {
  return read_text_file(folder + "/checkpoint/model.safetensors");
}

/// The drawing of the tiny world's recipe.
SampleStage drawing(uint32_t iteration, uint64_t seed = 1) {
  SampleStage stage;
  stage.style = world().style;
  stage.k = 6;
  stage.max_new = 24;
  stage.max_rows = 256;
  stage.sampling = {.temperature = 1.0, .top_k = 0, .top_p = 1.0, .min_p = 0.0};
  stage.seed = seed;
  stage.iteration = iteration;
  return stage;
}

std::string samples_text(const std::string& model, const std::vector<Prompt>& prompts, const SampleStage& stage) {
  const Model opened = open_model(*world().device, model, DType::F32);
  return text_of(sample_prompts(opened, sample_prompts_of(prompts), stage), sample_to_json);
}

/// An eval.jsonl of the test prompts.
std::string evaluation_text(const std::string& model, const SampleStage& stage, int64_t resample) {
  const Model opened = open_model(*world().device, model, DType::F32);
  std::vector<EvalRecord> records = sample_outputs(opened, tiny::prompts(6, 3), stage, resample, {});
  judge_records(records, *make_judge({{"kind", "rule"}}), tiny::prompts(6, 3));
  return text_of(records, eval_to_json);
}

}  // namespace

TEST_CASE("settings: an iteration trains with each number of the recipe") {
  using Changes = std::vector<Change<PreferenceStage>>;
  const Changes numbers = {
      {"dpo.loss=robust", [](auto& s) { s.loss.loss = DpoLoss::robust; }},
      {"dpo.beta=0.3", [](auto& s) { s.loss.beta = 0.3; }},
      {"dpo.nll=0.7", [](auto& s) { s.loss.nll = 0.7; }},
      {"dpo.label_smoothing=0.2", [](auto& s) { s.loss.label_smoothing = 0.2; }},
      {"dpo.lr=2e-3", [](auto& s) { s.train.lr = 2e-3; }},
      {"dpo.schedule=cosine", [](auto& s) { s.train.schedule = ScheduleKind::cosine; }},
      {"dpo.warmup=3", [](auto& s) { s.train.warmup = 3; }},
      {"dpo.batch=2", [](auto& s) { s.train.batch = 2; }},
      {"dpo.epochs=3", [](auto& s) { s.train.epochs = 3; }},
      {"dpo.clip=0.05", [](auto& s) { s.train.adamw.clip = 0.05; }},
      {"dpo.weight_decay=0.5", [](auto& s) { s.train.adamw.weight_decay = 0.5; }},
      {"dpo.optimizer_state=8bit", [](auto& s) { s.train.adamw.state = OptimizerState::eight_bit; }},
      {"dpo.micro_tokens=32", [](auto& s) { s.train.micro_tokens = 32; }},
      {"seed=7", [](auto& s) { s.train.seed = 7; }},
  };
  const Changes others = {
      {"dpo.loss=ipo", [](auto& s) { s.loss.loss = DpoLoss::ipo; }},
      {"dpo.schedule=constant", [](auto& s) { s.train.schedule = ScheduleKind::constant; }},
      {"dpo.steps=4", [](auto& s) { s.train.steps = 4; }},
      {"lora={\"rank\": 2, \"alpha\": 3}", [](auto& s) { s.lora = LoraOptions{.rank = 2, .alpha = 3}; }},
  };
  for (const Changes& changes : {numbers, others}) {
    std::vector<std::string> overrides = {"prompts_per_iteration=24", "sampling.temperature=0.6"};
    for (const auto& change : changes) overrides.push_back(change.setting);
    const std::string run = run_once(overrides, "trained");
    const auto pairs = read_id_pairs(run + "/iter-1/pairs.jsonl", world().open().text);
    const Values trained = weights_of(open_model(*world().device, run + "/iter-1/checkpoint", DType::F32).net);
    const auto by_hand_without = [&](const std::string& left_out) {
      PreferenceStage stage = training();
      for (const auto& change : changes)
        if (change.setting != left_out) change.by_hand(stage);
      return trained_by_hand(pairs, stage);
    };
    CHECK(trained == by_hand_without(""));
    for (const auto& change : changes) CHECK_MESSAGE(trained != by_hand_without(change.setting), change.setting);
  }
}

TEST_CASE("settings: the log shows the recipe's loss and rates") {
  const std::string ipo = run_once({"dpo.loss=ipo", "dpo.beta=0.3"}, "ipo");
  CHECK(log_of(ipo, 1, "train")[0]["loss"].get<double>() == doctest::Approx(1 / (4 * 0.3 * 0.3)).epsilon(1e-6));
  for (const std::string schedule : {"constant", "linear", "cosine"}) {
    CAPTURE(schedule);
    const std::string run = run_once({"dpo.schedule=" + schedule, "dpo.steps=6", "dpo.warmup=2"}, "rates");
    const std::vector<Json> steps = log_of(run, 1, "train");
    REQUIRE(steps.size() == 6);
    CHECK(steps[0]["lr"].get<double>() == doctest::Approx(0.5e-3));
    for (int s = 2; s <= 6; ++s) {
      const double u = s == 2 ? 0.0 : (s - 3) / 4.0;
      const double share = schedule == "constant" ? 1.0
                           : schedule == "linear" ? 1 - u
                                                  : (1 + std::cos(std::acos(-1.0) * u)) / 2;
      CHECK(steps[s - 1]["lr"].get<double>() == doctest::Approx(1e-3 * share).epsilon(1e-6));
    }
  }
}

TEST_CASE("settings: the warm-up draws forced samples and trains with the recipe's numbers") {
  const std::string run = run_once({R"(warmup={"samples": 20, "epochs": 3, "lr": 0.004})", "seed=5", "thought_budget=3",
                                    "dpo.optimizer_state=8bit", "dpo.micro_tokens=16", "dpo.steps=1"},
                                   "warm");
  SampleStage stage = drawing(0, 5);
  stage.k = 1;
  stage.format = Format::forced;
  stage.thought_budget = 3;
  CHECK(read_text_file(run + "/warmup/samples.jsonl") ==
        samples_text(world().folder / "seed", part_of(tiny::prompts(24, 1), 0, 20), stage));
  Model model = world().open();
  std::vector<SftExample> examples;
  for (const SampleRecord& s : read_samples(run + "/warmup/samples.jsonl"))
    if (s.valid()) examples.push_back(to_example(s.prompt_ids, s.ids));
  TrainOptions train;
  train.lr = 0.004;
  train.schedule = ScheduleKind::linear;
  train.batch = 4;
  train.epochs = 3;
  train.seed = 5;
  train.adamw.state = OptimizerState::eight_bit;
  train.micro_tokens = 16;
  train_sft(model.net, examples, train, {});
  model.save(run + "/by-hand/checkpoint");
  CHECK(weights_file(run + "/warmup") == weights_file(run + "/by-hand"));
}

TEST_CASE("settings: pairs are built by the recipe's rules") {
  const std::vector<Change<PairStage>> changes = {
      {"pairs.rho=0", [](auto&) {}},
      {"pairs.rho=0.3", [](auto& s) { s.options.rho = 0.3; }},
      {"pairs.rho=auto", [](auto& s) { s.auto_rho = true; }},
      {"pairs.parse_failures=reject", [](auto& s) { s.options.parse_failures = Failures::reject; }},
      {R"(pairs={"parse_failures": "reject", "truncated": "reject"})",
       [](auto& s) { s.options.parse_failures = s.options.truncated = Failures::reject; }},
      {R"(pairs={"rho": 0.25, "length": "tokens"})",
       [](auto& s) { s.options.rho = 0.25, s.length = LengthUnit::tokens; }},
  };
  const Model model = world().open();
  std::set<std::string> different;
  for (const auto& [setting, by_hand] : changes) {
    CAPTURE(setting);
    // Short outputs, so that some are cut; failures are a tenth of the pairs at most, so there must be enough.
    const std::string run =
        run_once({"prompts_per_iteration=24", R"(judge={"kind": "rule", "length_bias": 20})",
                  R"(sampling={"k": 10, "temperature": 0.5, "max_new": 10})", "seed=2", "dpo.steps=1", setting},
                 "paired");
    PairStage stage;
    stage.style = world().style;
    by_hand(stage);
    const PairResult expected = pair_samples(tiny::prompts(24, 1), read_samples(run + "/iter-1/samples.jsonl"),
                                             read_judgments(run + "/iter-1/judgments.jsonl"), stage, &model.text, {});
    const std::string pairs = read_text_file(run + "/iter-1/pairs.jsonl");
    CHECK(pairs == text_of(expected.pairs, pair_to_json));
    CHECK_MESSAGE(different.insert(pairs).second, "pairs as another one does");
    const Json counts = log_of(run, 1, "pair").at(0);
    CHECK(counts["rho"].get<double>() == doctest::Approx(expected.rho));
    CHECK(counts["length_unit"] == (holds(setting, "tokens") ? "tokens" : "chars"));
    if (holds(setting, "0.3")) CHECK(counts["rho"] == 0.3);
    if (holds(setting, "auto")) CHECK(counts["rho"].get<double>() > 0.0);
  }
}

TEST_CASE("settings: a pairwise judge's games become scores by the recipe's rule") {
  // The response with more of the letter a is better, but it is seen only by the reader of the better one first, or
  // where the difference is large: so the two orders often disagree.
  HttpServer server([&](const std::string&, const std::string& body) {
    const std::string text = Json::parse(body)["messages"][0]["content"];
    const auto middle = text.begin() + static_cast<int64_t>(text.find('#'));
    const auto a = std::count(text.begin(), middle, 'a'), b = std::count(middle, text.end(), 'a');
    const char* verdict = a > b ? "A" : b > a + 1 ? "B" : "C";
    return HttpServer::response(200, Json{{"choices", {{{"message", {{"content", verdict}}}}}}}.dump());
  });
  const std::string format = world().folder.write("pairwise.json", R"({"user": "{response_a}#{response_b}#{prompt}",
    "verdicts": {"a": "A", "b": "B", "tie": "C"}})");
  Json judge{{"kind", "pairwise"},
             {"format", format},
             {"endpoint", server.url()},
             {"model", "m"},
             {"cache", world().folder / "games.jsonl"}};
  const Model model = world().open();
  std::set<std::string> different;
  for (const GameScores scores : {GameScores::bt, GameScores::wins}) {
    for (const Inconsistent inconsistent : {Inconsistent::keep, Inconsistent::tie}) {
      judge["scores"] = scores == GameScores::bt ? "bt" : "wins";
      judge["inconsistent"] = inconsistent == Inconsistent::keep ? "keep" : "tie";
      CAPTURE(judge.dump());
      const std::string run =
          run_once({"judge=" + judge.dump(), "prompts_per_iteration=6", "sampling.k=4", "dpo.steps=1"}, "games");
      PairStage stage;
      stage.style = world().style;
      const PairResult expected =
          pair_samples(tiny::prompts(24, 1), read_samples(run + "/iter-1/samples.jsonl"),
                       read_judgments(run + "/iter-1/judgments.jsonl", {scores, inconsistent}), stage, nullptr, {});
      const std::string pairs = read_text_file(run + "/iter-1/pairs.jsonl");
      CHECK(pairs == text_of(expected.pairs, pair_to_json));
      CHECK_MESSAGE(different.insert(pairs).second, "scores as another rule does");
    }
  }
}

TEST_CASE("settings: a run draws with the recipe's numbers, each iteration from its own stream and model") {
  for (const bool forced : {false, true}) {
    CAPTURE(forced);
    const std::string run = world().folder / (forced ? "forced" : "drawn"), seed = world().folder / "seed";
    world().run(
        world().recipe({"seed=11", R"(sampling={"k": 5, "temperature": 0.5, "top_p": 0.8, "max_new": 14})",
                        R"(eval={"temperature": 0.3, "top_p": 0.7, "resample": 1})", "thought_budget=2",
                        forced ? "format=forced" : "format=free", "dpo.steps=2", "select=last", "prompts.select=null"}),
        fs::path(run).filename());
    for (uint32_t t = 1; t <= 2; ++t) {
      SampleStage stage = drawing(t, 11);
      stage.format = forced ? Format::forced : Format::free;
      stage.thought_budget = 2;
      stage.k = 5;
      stage.max_new = 14;
      stage.sampling = {.temperature = 0.5, .top_k = 0, .top_p = 0.8, .min_p = 0.0};
      const std::string before = t == 1 ? seed : run + "/iter-1/checkpoint",
                        folder = run + "/iter-" + std::to_string(t);
      CHECK(read_text_file(folder + "/samples.jsonl") ==
            samples_text(before, part_of(tiny::prompts(24, 1), 8 * t - 8, 8 * t), stage));
      stage.sampling.temperature = 0.3;
      stage.sampling.top_p = 0.7;
      CHECK(read_text_file(folder + "/eval.jsonl") == evaluation_text(folder + "/checkpoint", stage, 1));
      if (t == 2) continue;
      stage.iteration = 0;
      CHECK(read_text_file(run + "/iter-0/eval.jsonl") == evaluation_text(seed, stage, 1));
      stage.style = thought_style("none");
      stage.format = Format::free;
      CHECK(read_text_file(run + "/iter-0/eval_direct.jsonl") == evaluation_text(seed, stage, 1));
    }
  }
}

TEST_CASE("settings: an evaluation at temperature 0 takes the most probable tokens") {
  const std::string run = world().folder / "greedy";
  world().run(world().recipe({"iterations=1", "dpo.steps=1", "select=last", "prompts.select=null", "eval.temperature=0",
                              "eval.resample=0"}),
              "greedy");
  SampleStage stage = drawing(0);
  stage.sampling.greedy = true;
  CHECK(read_text_file(run + "/iter-0/eval.jsonl") == evaluation_text(world().folder / "seed", stage, 0));
}

TEST_CASE("settings: the direct evaluation asks the prompt as it is, the other one with the thought prompt") {
  const std::string run = world().folder / "asked";
  world().run(world().recipe({"iterations=1", "dpo.steps=1", "select=last", "prompts.select=null"}), "asked");
  const auto text = world().open().text;
  const std::vector<Prompt> prompts = tiny::prompts(6, 3);
  for (const std::string name : {"/iter-0/eval_direct.jsonl", "/iter-0/eval.jsonl", "/iter-1/eval.jsonl"}) {
    CAPTURE(name);
    const bool direct = name.find("direct") != name.npos;
    const std::vector<EvalRecord> records = read_evals(run + name);
    REQUIRE(records.size() == 6);
    for (size_t i = 0; i < 6; ++i) {
      const std::string query = prompts[i].messages[0].content;
      CHECK(records[i].sample.prompt_ids == text.prompt_ids({{"user", direct ? query : "Z" + query + "\n"}}));
      if (direct) CHECK(!records[i].sample.split.thought);
      if (!direct && records[i].sample.valid()) CHECK(records[i].sample.split.thought);
    }
  }
}

TEST_CASE("train: with adapters, too, the best epoch's are kept and not the last's") {
  std::vector<IdPair> pairs;
  for (int32_t i = 0; i < 6; ++i) pairs.push_back({{1, 2, 3 + i}, {4, 5, 0}, {6 + i, 0}});
  for (int64_t best = 1; best <= 2; ++best) {
    CAPTURE(best);
    PreferenceStage stage = training();
    stage.train.epochs = 3;
    stage.lora = LoraOptions{.rank = 2, .alpha = 8};
    Model model = world().open();
    const std::string folder = world().folder / ("adapters-" + std::to_string(best));
    const auto after = [&](int64_t epoch) { return folder + "/after-" + std::to_string(epoch); };
    stage.select = [&](int64_t epoch) {
      save_adapter(after(epoch), model.net, stage.base);
      model.save(after(epoch));
      return epoch == best ? 0.5 : 0.3 - 0.1 * static_cast<double>(epoch);
    };
    train_on_pairs(model, pairs, stage, folder);
    const auto adapters = [](const std::string& at) { return read_text_file(at + "/adapter_model.safetensors"); };
    const auto weights = [](const std::string& at) { return read_text_file(at + "/model.safetensors"); };
    for (int64_t epoch = 1; epoch <= 3; ++epoch) {
      CHECK((adapters(folder + "/checkpoint/adapter") == adapters(after(epoch))) == (epoch == best));
      CHECK((weights(folder + "/checkpoint") == weights(after(epoch))) == (epoch == best));
    }
  }
}

TEST_CASE("log: each key of a step has its own number") {
  StepLog log;
  log.step = 5;
  log.epoch = 2;
  log.loss = 0.75;
  log.grad_norm = 1.5;
  log.lr = 0.001;
  log.tokens_per_s = 64;
  log.seconds = 0.5;
  // Two pairs of five tokens together: policy's sums of chosen and rejected, then the reference's.
  log.dpo.add({-3, -8, -4, -6, 1, 1}, {.loss = 9,
                                       .d_policy_chosen = 0,
                                       .d_policy_rejected = 0,
                                       .reward_chosen = 0.5,
                                       .reward_rejected = -1,
                                       .accuracy = 1});
  log.dpo.add({-6, -2, -8, -9, 1, 2}, {.loss = 9,
                                       .d_policy_chosen = 0,
                                       .d_policy_rejected = 0,
                                       .reward_chosen = 1,
                                       .reward_rejected = 3.5,
                                       .accuracy = 0});
  log.reward.add({4, 1}, {.loss = 9, .d_chosen = 0, .d_rejected = 0});
  const Json dpo{{"step", 5},
                 {"epoch", 2},
                 {"loss", 0.75},
                 {"margin", -0.5},
                 {"reward_chosen", 0.75},
                 {"reward_rejected", 1.25},
                 {"logp_chosen", -4.5},
                 {"logp_rejected", -5.0},
                 {"accuracy", 0.5},
                 {"grad_norm", 1.5},
                 {"lr", 0.001},
                 {"kl", -1.6},
                 {"tokens_per_s", 64.0},
                 {"seconds", 0.5}};
  CHECK(dpo_step_to_json(log).dump() == dpo.dump());
  const Json sft{{"step", 5},   {"epoch", 2},           {"loss", 0.75},  {"grad_norm", 1.5},
                 {"lr", 0.001}, {"tokens_per_s", 64.0}, {"seconds", 0.5}};
  CHECK(sft_step_to_json(log).dump() == sft.dump());
  const Json reward{{"step", 5},
                    {"epoch", 2},
                    {"loss", 0.75},
                    {"margin", 3.0},
                    {"reward_chosen", 4.0},
                    {"reward_rejected", 1.0},
                    {"accuracy", 1.0},
                    {"grad_norm", 1.5},
                    {"lr", 0.001},
                    {"tokens_per_s", 64.0},
                    {"seconds", 0.5}};
  CHECK(reward_step_to_json(log).dump() == reward.dump());
}

TEST_CASE("settings: with a judge that goes below 0 an output that fails scores no more than any so far") {
  const Recipe recipe = world().recipe(
      {R"(judge={"kind": "rule", "length_bias": -1000})", "eval.resample=0", "iterations=2", "dpo.epochs=1"});
  fs::remove_all(world().folder / "below");
  world().run(recipe, "below");
  double lowest = 0.0;
  int64_t failed = 0, lower = 0;
  for (const char* file : {"iter-0/eval_direct", "iter-0/eval", "iter-1/eval", "iter-2/eval"}) {
    const auto records = read_evals(world().folder / ("below/" + std::string(file) + ".jsonl"));
    const double before = lowest;
    for (const EvalRecord& r : records)
      if (r.sample.valid()) lowest = std::min(lowest, *r.judged.score);
    lower += lowest < before;
    for (const EvalRecord& r : records) {
      if (r.sample.valid()) continue;
      ++failed;
      CHECK(*r.judged.score == lowest);
    }
  }
  CHECK(lowest < -1.0);
  CHECK(failed > 0);
  CHECK(lower < 4);  // in one of them the lowest is an earlier one's
}
