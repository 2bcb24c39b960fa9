// The loop as a whole, on a model of a few thousand weights: the files that it leaves, what each iteration learns from,
// and that a run which was killed anywhere and resumed ends with the same bytes as one that was not.
#include "tpo/run.h"

#include <cstdlib>
#include <map>
#include <set>
#include <sstream>

#include "tensor/file.h"
#include "tests/tpo/http_server.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/judges/pairwise.h"
#include "tpo/text.h"

using namespace thinker;
using tiny::log_of;
using tiny::World;

namespace fs = std::filesystem;

namespace {

const World& world() {
  static const World shared;
  return shared;
}

/// log.jsonl without what a clock measures.
std::string without_times(const std::string& log) {
  std::string text;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line);
    json.erase("seconds");
    json.erase("tokens_per_s");
    text += json.dump() + "\n";
  }
  return text;
}

/// adapter_config.json with the base's path as seen from the run's folder.
std::string without_folder(const std::string& config, const std::string& folder) {
  Json json = Json::parse(config);
  json["base_model_name_or_path"] = fs::relative(json["base_model_name_or_path"].get<std::string>(), folder).string();
  return json.dump();
}

/// Every file of a folder, by its path within.
std::map<std::string, std::string> files_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string path = fs::relative(entry.path(), folder).string();
    if (entry.is_directory()) {
      files[path + "/"] = "";
      continue;
    }
    const std::string text = read_text_file(entry.path().string());
    files[path] = path == "log.jsonl"                     ? without_times(text)
                  : path.ends_with("adapter_config.json") ? without_folder(text, folder)
                                                          : text;
  }
  return files;
}

/// The name of the first file in which two runs differ; "" when there is none.
std::string first_difference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  for (const auto& [name, text] : a) {
    if (!b.contains(name)) return name + " is missing";
    if (b.at(name) != text) return name + " differs";
  }
  for (const auto& [name, text] : b) {
    if (!a.contains(name)) return name + " is left over";
  }
  return "";
}

std::set<std::string> keys_of(const JsonLine& line) {
  std::set<std::string> keys;
  for (const auto& [key, value] : line.json().items()) keys.insert(key);
  return keys;
}

struct Killed {};

/// Runs until the n-th line of the log, or the n-th progress report, and dies there. False when the run ended before.
enum class DieAt { log_line, progress };
bool run_killed_at(const Recipe& recipe, const std::string& name, DieAt where, int64_t n, Resume resume = Resume::no) {
  int64_t seen = 0;
  const auto count = [&] {
    if (++seen == n) throw Killed{};
  };
  RunOptions options;
  if (where == DieAt::log_line)
    options.on_log = [&](const Json&) { count(); };
  else
    options.progress = [&](const std::string&, int64_t, int64_t) { count(); };
  try {
    world().run(recipe, name, resume, options);
  } catch (const Killed&) {
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("run: every file with its fields, rows of the table, fresh prompts each iteration") {
  const Recipe recipe = world().recipe({"warmup={\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}"});
  const RunResult result = world().run(recipe, "files");
  const std::string folder = world().folder / "files";
  const auto files = files_of(folder);
  for (const char* name : {"recipe.json", "log.jsonl", "iter-0/prompts.jsonl", "iter-0/eval_direct.jsonl",
                           "iter-0/eval.jsonl", "warmup/samples.jsonl", "warmup/checkpoint/model.safetensors",
                           "warmup/checkpoint/tokenizer.json", "warmup/eval.jsonl"}) {
    CHECK_MESSAGE(files.contains(name), name);
  }
  for (const std::string t : {"iter-1/", "iter-2/"}) {
    for (const std::string name :
         {"prompts.jsonl", "samples.jsonl", "judgments.jsonl", "pairs.jsonl", "eval.jsonl", "checkpoint/config.json",
          "checkpoint/generation_config.json", "checkpoint/tokenizer.json", "checkpoint/tokenizer_config.json",
          "checkpoint/model.safetensors"}) {
      CHECK_MESSAGE(files.contains(std::string(t) + name), t, name);
    }
  }
  for (const auto& [name, text] : files) {  // nothing unfinished stays behind
    for (const std::string part : {"train_state", "best", ".part", ".new", ".tmp"})
      CHECK_MESSAGE(!holds(name, part), name);
  }

  const std::vector<EvalRecord> first = read_evals(folder + "/iter-0/eval.jsonl");
  const std::vector<Prompt> held_out = read_prompts(folder + "/iter-0/prompts.jsonl");
  REQUIRE(held_out.size() == first.size());
  for (size_t i = 0; i < first.size(); ++i) CHECK(*held_out[i].id == first[i].sample.id);

  const auto sample_keys = std::set<std::string>{"id",   "sample",  "prompt_ids", "ids",   "logprobs",
                                                 "text", "thought", "response",   "parse", "stop"};
  auto eval_keys = sample_keys;
  for (const std::string key : {"category", "attempts", "first_parse", "score"}) eval_keys.insert(key);
  for (const JsonLine& line : read_jsonl(folder + "/iter-1/samples.jsonl")) CHECK(keys_of(line) == sample_keys);
  for (const JsonLine& line : read_jsonl(folder + "/iter-2/eval.jsonl")) CHECK(keys_of(line) == eval_keys);
  for (const JsonLine& line : read_jsonl(folder + "/iter-1/judgments.jsonl")) {
    CHECK(keys_of(line) == std::set<std::string>{"id", "sample", "view", "answer", "score"});
  }
  for (const JsonLine& line : read_jsonl(folder + "/iter-1/pairs.jsonl")) {
    CHECK(keys_of(line) == std::set<std::string>{"id", "messages", "chosen", "rejected", "prompt_ids", "chosen_ids",
                                                 "rejected_ids", "chosen_sample", "rejected_sample", "score_chosen",
                                                 "score_rejected", "s_chosen", "s_rejected", "length_chosen",
                                                 "length_rejected"});
  }
  const auto steps = log_of(folder, 1, "train");
  REQUIRE(!steps.empty());
  CHECK(std::fabs(steps[0]["loss"].get<double>() - std::log(2.0)) <= 1e-8);  // trap 8
  CHECK(steps[0]["margin"] == 0.0);
  for (const std::string key : {"step", "epoch", "loss", "margin", "reward_chosen", "reward_rejected", "logp_chosen",
                                "logp_rejected", "accuracy", "grad_norm", "lr", "kl", "tokens_per_s", "seconds"}) {
    CHECK_MESSAGE(steps[0].contains(key), key);
  }

  REQUIRE(result.rows.size() == 5);
  const char* const labels[] = {"seed, direct", "seed, thinking", "after the warm-up", "iteration 1", "iteration 2"};
  const int64_t iterations[] = {0, 0, 0, 1, 2};
  for (size_t i = 0; i < 5; ++i) {
    CHECK(result.rows[i].label == labels[i]);
    CHECK(result.rows[i].iteration == iterations[i]);
    CHECK(result.rows[i].eval.prompts == 6);
    CHECK(result.rows[i].eval.categories.size() == 2);
  }
  CHECK(result.checkpoint == folder + "/iter-2/checkpoint");

  std::vector<std::string> used;
  for (const std::string t : {"/iter-1", "/iter-2"}) {
    for (const Prompt& p : read_prompts(folder + t + std::string("/prompts.jsonl")))
      used.push_back(p.id->get<std::string>());
  }
  REQUIRE(used.size() == 16);
  for (int i = 0; i < 16; ++i) CHECK(used[i] == "p1-" + std::to_string(i));
}

TEST_CASE("run: dpo.steps makes every iteration that many steps, however many pairs there are") {
  for (int64_t steps : {1, 7}) {
    CAPTURE(steps);
    world().run(world().recipe({"dpo.steps=" + std::to_string(steps)}), "steps");
    const std::string folder = world().folder / "steps";
    for (int64_t t : {1, 2}) {
      int64_t last = 0;
      double lr = 1;
      for (const Json& line : log_of(folder, t, "train")) {
        if (!line.contains("step")) continue;
        CHECK(line["step"] == ++last);
        lr = line["lr"].get<double>();
      }
      CHECK(last == steps);
      CHECK(lr == doctest::Approx(steps == 1 ? 1e-3 : 1e-3 / 6));  // the schedule ends with the steps, one is warm-up
    }
    fs::remove_all(folder);
  }
}

TEST_CASE("run: an iteration samples from the model that the one before handed on, and hands on the best epoch") {
  const Recipe recipe = world().recipe({"dpo.epochs=4", "dpo.lr=0.01"});
  world().run(recipe, "select");
  const std::string folder = world().folder / "select";
  for (int64_t t : {1, 2}) {
    double best = -1;
    int64_t best_epoch = 0, epochs = 0;
    for (const Json& line : log_of(folder, t, "train")) {
      if (!line.contains("select_epoch")) continue;
      CHECK(line["select_epoch"] == ++epochs);
      if (line["score"].get<double>() > best) {
        best = line["score"].get<double>();
        best_epoch = epochs;
      }
    }
    CHECK(epochs == 4);
    // The checkpoint is the one whose score on the select prompts, drawn again, is the best.
    const std::string at = folder + "/iter-" + std::to_string(t);
    const Model model = open_model(*world().device, at + "/checkpoint", DType::F32);
    SampleStage stage;
    stage.style = world().style;
    stage.max_new = 24;
    stage.max_rows = 256;
    stage.sampling.temperature = 1.0;
    stage.sampling.top_p = 1.0;
    stage.seed = recipe.seed;
    stage.iteration = static_cast<uint32_t>(t);
    const auto judge = make_judge(recipe.judge);
    auto records = sample_outputs(model, tiny::prompts(6, 2), stage, 2, {});
    judge_records(records, *judge, tiny::prompts(6, 2));
    CHECK_MESSAGE(summarise(records, recipe.seed).score == doctest::Approx(best).epsilon(1e-8), "best epoch ",
                  best_epoch);

    // Sampled log-probs are those of the model before: the seed, then the first iteration's checkpoint.
    const Model before =
        t == 1 ? world().open() : open_model(*world().device, folder + "/iter-1/checkpoint", DType::F32);
    const SampleRecord s = read_samples(at + "/samples.jsonl").at(0);
    const auto logprobs = completion_logprobs(before.net, s.prompt_ids, s.ids);
    CHECK(difference(s.logprobs, logprobs) <= 1e-4);
  }
}

// Trap 16.
TEST_CASE("run: the reference is the model before, or the seed's beginning") {
  for (const std::string warmup : {"null", "{\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}"}) {
    const std::string previous = "previous" + std::to_string(warmup.size()),
                      seed = "seeded" + std::to_string(warmup.size());
    world().run(world().recipe({"warmup=" + warmup}), previous);
    world().run(world().recipe({"warmup=" + warmup, "dpo.reference=seed"}), seed);
    CHECK(log_of(world().folder / previous, 1, "train")[0]["margin"] == 0.0);
    CHECK(log_of(world().folder / previous, 2, "train")[0]["margin"] == 0.0);
    CHECK(log_of(world().folder / seed, 1, "train")[0]["margin"] == 0.0);
    const Json first = log_of(world().folder / seed, 2, "train")[0];
    CHECK(first["margin"] != 0.0);
    // The mean reward of the first batch is beta (policy - reference): the reference is the model before the first
    // iteration.
    const std::string folder = world().folder / seed;
    const Model begun =
        warmup == "null" ? world().open() : open_model(*world().device, folder + "/warmup/checkpoint", DType::F32);
    const Model policy = open_model(*world().device, folder + "/iter-1/checkpoint", DType::F32);
    const auto pairs = read_id_pairs(folder + "/iter-2/pairs.jsonl", begun.text);
    TrainOptions options;
    options.batch = 3;
    options.seed = 1;
    options.iteration = 2;
    const auto reference = reference_logps(begun.net, pairs, options),
               own = reference_logps(policy.net, pairs, options);
    double kl = 0;
    for (size_t i = 0; i < pairs.size(); ++i) kl += std::fabs(reference[i].chosen - own[i].chosen);
    CHECK(kl > 0.0);
    double least = INFINITY;  // some three pairs have the logged mean: the shuffle's first batch
    for (size_t a = 0; a < pairs.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        for (size_t c = 0; c < b; ++c) {
          double reward = 0;
          for (size_t i : {a, b, c}) reward += 0.1 * (own[i].chosen - reference[i].chosen) / 3;
          least = std::fmin(least, std::fabs(reward - first["reward_chosen"].get<double>()));
        }
      }
    }
    REQUIRE(pairs.size() >= 3);
    CHECK(least <= 1e-5);
  }
}

TEST_CASE("run: with adapters every checkpoint is the model before with them merged, and the next begins from it") {
  const Recipe recipe = world().recipe({"warmup={\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}", "dpo.lr=0.01",
                                        "lora={\"rank\": 3, \"alpha\": 4, \"targets\": [\"q_proj\", \"down_proj\"]}"});
  world().run(recipe, "adapters");
  const std::string run = world().folder / "adapters";
  std::string before = world().folder / "seed";
  for (const std::string stage : {"/warmup", "/iter-1", "/iter-2"}) {
    CAPTURE(stage);
    const std::string checkpoint = run + stage + "/checkpoint", adapter = checkpoint + "/adapter";
    Model model = open_model(*world().device, before, DType::F32);
    const Values base = weights_of(model.net),
                 found = weights_of(open_model(*world().device, checkpoint, DType::F32).net);
    model.net.attach(read_adapter(adapter, model.net));
    CHECK(model.net.lora()->options().targets == recipe.lora->targets);
    model.net.visit([&](const std::string& name, const Tensor& w) {
      const bool adapted = name.find("down_proj") != name.npos || name.find("q_proj") != name.npos;
      CHECK_MESSAGE(found.at(name) == host_values(merged(model.net, w)), name);
      CHECK_MESSAGE((found.at(name) == base.at(name)) == !adapted, name);
    });
    CHECK(read_json(adapter + "/adapter_config.json")["base_model_name_or_path"] == before);
    before = checkpoint;
  }
  for (int64_t t : {1, 2}) {
    const Json first = log_of(run, t, "train")[0];
    CHECK(first["margin"] == 0.0);
    CHECK(first["loss"].get<double>() == doctest::Approx(std::log(2.0)).epsilon(1e-8));
  }
  CHECK(log_of(run, 2, "train").back()["margin"] != 0.0);
}

// Trap 37.
// Some deaths, beginning with another one for each kind; THOROUGH=1 dies everywhere.
TEST_CASE("run: killed at any line of the log or any progress report, resumed, it ends with the same bytes") {
  const std::vector<std::pair<std::string, Recipe>> recipes = {
      {"thinking", world().recipe({"warmup={\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}", "dpo.reference=seed"})},
      {"direct", world().recipe({"thought=none", "select=last", "dpo.epochs=3"})},
      {"steps", world().recipe({"thought=none", "dpo.steps=7"})},
      {"adapters", world().recipe({"warmup={\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}",
                                   "lora={\"rank\": 3, \"targets\": [\"v_proj\", \"q_proj\"]}", "dpo.epochs=3"})},
  };
  const bool thorough = std::getenv("THOROUGH");
  int64_t first = 0;
  for (const auto& [name, recipe] : recipes) {
    world().run(recipe, name + "-straight");
    const auto expected = files_of(world().folder / (name + "-straight"));
    for (DieAt where : {DieAt::log_line, DieAt::progress}) {
      const int64_t stride = thorough ? 1 : where == DieAt::progress ? 37 : 11;
      for (int64_t n = 1 + first++ % stride;; n += stride) {
        const std::string killed = name + "-killed";
        if (!run_killed_at(recipe, killed, where, n)) {
          CHECK(n > 10);
          fs::remove_all(world().folder / killed);
          break;
        }
        if (n % 3 == 0) run_killed_at(recipe, killed, where, 2, Resume::yes);  // and again
        world().run(recipe, killed, Resume::yes);
        const std::string difference = first_difference(expected, files_of(world().folder / killed));
        CHECK_MESSAGE(difference == "", name, ", death ", n,
                      std::string(where == DieAt::progress ? " of progress: " : " of the log: "), difference);
        fs::remove_all(world().folder / killed);
      }
    }
  }
}

TEST_CASE("run: later files may be missing, torn or half-renamed; a finished run resumes to itself") {
  const Recipe recipe = world().recipe({"warmup={\"samples\": 24, \"epochs\": 1, \"lr\": 0.001}"});
  world().run(recipe, "whole");
  const std::string whole = world().folder / "whole", folder = world().folder / "damaged";
  const auto expected = files_of(whole);
  const auto resumed = [&](const std::string& what, const std::function<void()>& damage) {
    fs::remove_all(folder);
    fs::copy(whole, folder, fs::copy_options::recursive);
    damage();
    world().run(recipe, "damaged", Resume::yes);
    CHECK_MESSAGE(first_difference(expected, files_of(folder)) == "", what, ": ",
                  first_difference(expected, files_of(folder)));
  };
  const auto remove_from = [&](const std::string& t, const std::vector<std::string>& names) {
    for (const std::string& name : names) fs::remove_all(folder + "/" + t + "/" + name);
  };
  const auto truncate_log = [&](const std::string& stage, int64_t iteration) {  // as it was before the stage
    std::string kept;
    for (const JsonLine& line : read_jsonl(folder + "/log.jsonl")) {
      if (line.integer("iteration") == iteration && line.string("stage") == stage) break;
      kept += dump_json(line.json()) + "\n";
    }
    write_file_atomically(folder + "/log.jsonl", kept);
  };
  resumed("finished", [] {});
  resumed("no last evaluation", [&] {
    remove_from("iter-2", {"eval.jsonl"});
    truncate_log("iter-2/eval", 2);
  });
  resumed("samples there, their line of the log lost", [&] {
    remove_from("iter-2", {"eval.jsonl", "checkpoint", "pairs.jsonl", "judgments.jsonl"});
    truncate_log("sample", 2);
  });
  resumed("judgments there, pairs not", [&] {
    remove_from("iter-2", {"eval.jsonl", "checkpoint", "pairs.jsonl"});
    truncate_log("pair", 2);
  });
  resumed("a torn last line in the log", [&] {
    remove_from("iter-2", {"eval.jsonl", "checkpoint"});
    truncate_log("train", 2);
    std::ofstream(folder + "/log.jsonl", std::ios::app) << "{\"iteration\":2,\"sta";
  });
  resumed("a finished checkpoint beside the state that led to it", [&] {
    for (const char* left : {"train_state", "train_state.new", "best"}) {
      fs::create_directories(folder + "/iter-1/" + left);
      std::ofstream(folder + "/iter-1/" + left + "/state.json") << "{}";
    }
  });
  resumed("a half-written state of training", [&] {
    remove_from("iter-2", {"eval.jsonl", "checkpoint"});
    truncate_log("train", 2);
    fs::create_directories(folder + "/iter-2/train_state.new");
    fs::create_directories(folder + "/iter-2/checkpoint.new");
    std::ofstream(folder + "/iter-2/checkpoint.new/config.json") << "{";
  });
  resumed("a half-written checkpoint of the warm-up", [&] {
    fs::remove_all(folder + "/warmup/eval.jsonl");
    fs::rename(folder + "/warmup/checkpoint", folder + "/warmup/checkpoint.new");
    fs::remove(folder + "/warmup/checkpoint.new/tokenizer.json");
    for (const std::string t : {"/iter-1", "/iter-2"}) fs::remove_all(folder + t);
    truncate_log("warmup", 0);
  });
}

// Trap 30: the mean of no scores is 0, better than an honest one below it.
TEST_CASE("run: a judge that scores nothing selects no epoch") {
  std::vector<Prompt> unchecked = tiny::prompts(6, 2);
  for (Prompt& p : unchecked) p.check = nullptr;
  const std::string path = world().write_prompts("unchecked.jsonl", unchecked);
  const Recipe recipe = world().recipe({"prompts.select=" + Json(path).dump()});
  const std::string error = error_of([&] { world().run(recipe, "unscored"); });
  CHECK_MESSAGE(holds(error, "the judge gave no score for any of"), error);
  CHECK(!fs::exists(world().folder / "unscored/iter-1/checkpoint"));
}

TEST_CASE("run: no evaluation without test prompts; an untrained model is told what to do") {
  const RunResult result = world().run(world().recipe({"prompts.test=null", "iterations=1"}), "untested");
  CHECK(result.rows.empty());
  CHECK(!fs::exists(world().folder / "untested/iter-1/eval.jsonl"));
  Model blank = tiny::untrained_model(*world().device);
  const Recipe recipe = world().recipe({"sampling.max_new=3"});
  RunOptions options;
  options.folder = world().folder / "blank";
  const std::string error = error_of([&] { run_loop(recipe, blank, open_prompts(recipe), options); });
  CHECK_MESSAGE((holds(error, "outputs parse") && holds(error, "forced")), error);
}

TEST_CASE("run: forced format goes through the loop, and the warm-up teaches the markers") {
  world().run(world().recipe({"format=forced", "thought_budget=2", "iterations=1"}), "forced");
  int64_t sides = 0;
  for (const JsonLine& pair : read_jsonl(world().folder / "forced/iter-1/pairs.jsonl")) {
    sides += pair.has("chosen_forced") + pair.has("rejected_forced");
  }
  CHECK(sides > 0);
  const auto steps = log_of(world().folder / "forced", 1, "train");
  CHECK(std::fabs(steps[0]["loss"].get<double>() - std::log(2.0)) <= 1e-8);

  // A model that answers but has never seen the marker.
  Model model = tiny::untrained_model(*world().device);
  tiny::train_format(model, thought_style("none"));
  const Recipe recipe = world().recipe({"warmup={\"samples\": 24, \"epochs\": 30, \"lr\": 0.01}", "thought_budget=3",
                                        "iterations=1", "sampling.max_new=80"});
  RunOptions options;
  options.folder = world().folder / "taught";
  error_of([&] {
    run_loop(recipe, model, open_prompts(recipe), options);
  });  // the iteration after it may find too few pairs
  const auto rate = [&](const char* file) { return summarise(read_evals(options.folder + file), 1).parse_rate; };
  CHECK(rate("/iter-0/eval.jsonl") <= 0.2);
  CHECK(rate("/warmup/eval.jsonl") > rate("/iter-0/eval.jsonl"));
}

// Trap 38.
TEST_CASE("prompts: no prompt in two sets, no id twice, enough for every iteration") {
  const auto train = tiny::prompts(24, 1);
  auto select = tiny::prompts(6, 2);
  select[4].messages = train[7].messages;
  world().write_prompts("leak.jsonl", select);
  const std::string leak = world().folder / "leak.jsonl";
  const std::string error = error_of([&] { open_prompts(world().recipe({"prompts.select=" + leak})); });
  CHECK_MESSAGE(holds(error, "prompts.select: " + leak + ":5 repeats "), error);
  CHECK_MESSAGE(holds(error, "train.jsonl:8 of prompts.train (\""), error);
  CHECK(holds(error_of([&] { open_prompts(world().recipe({"prompts.test=" + leak})); }), "prompts.test"));
  CHECK(error_of([&] { open_prompts(world().recipe()); }) == "");
  CHECK(holds(error_of([&] { open_prompts(world().recipe({"iterations=4"})); }), "24 prompts"));

  // The prompt that is quoted may have lines, and characters where it is cut.
  std::vector<Prompt> trained = tiny::prompts(24, 1), tested = tiny::prompts(6, 3);
  trained[0].messages[0].content = "ab\n";
  for (int64_t i = 0; i < 40; ++i) trained[0].messages[0].content += "é";
  tested[2].messages = trained[0].messages;
  const std::string in_both = error_of([&] {
    open_prompts(world().recipe({"prompts.train=" + world().write_prompts("trained.jsonl", trained),
                                 "prompts.test=" + world().write_prompts("tested.jsonl", tested)}));
  });
  CHECK_MESSAGE(holds(in_both, "tested.jsonl:3 repeats "), in_both);
  CHECK(std::count(in_both.begin(), in_both.end(), '\n') == 0);
  CHECK(first_invalid_utf8(in_both) == -1);

  // A prompt that stands twice would be used again by a later iteration; both lines are named.
  std::vector<Prompt> repeating = tiny::prompts(24, 1);
  repeating[20].messages = repeating[3].messages;
  const std::string again = world().write_prompts("again.jsonl", repeating);
  const std::string repeated = error_of([&] { open_prompts(world().recipe({"prompts.train=" + again})); });
  CHECK(holds(repeated, "again.jsonl:21 repeats the prompt of "));
  CHECK(holds(repeated, "again.jsonl:4 "));
  CHECK(std::count(repeated.begin(), repeated.end(), '\n') == 0);

  auto twice = tiny::prompts(6, 2);
  twice[5].id = twice[2].id;
  CHECK(holds(error_of([&] { read_prompts(world().write_prompts("twice.jsonl", twice)); }),
              "twice.jsonl:6: id \"p2-2\""));
}

TEST_CASE("run: with a pairwise judge; a judge that dies on the way is found again by the resumed run") {
  // Prefers the response with more of the letter a; every request from the 31st to the 40th is refused.
  std::atomic<int> count = 0, deadly = 31;
  HttpServer server([&](const std::string&, const std::string& body) {
    if (++count >= deadly) return HttpServer::response(401, "");
    const std::string text = Json::parse(body)["messages"][0]["content"];
    const size_t end = text.find('#');
    const std::string first = text.substr(0, end), second = text.substr(end + 1, text.rfind('#') - end - 1);
    const auto a = std::count(first.begin(), first.end(), 'a'), b = std::count(second.begin(), second.end(), 'a');
    return HttpServer::response(200, Json{{"choices",
                                           {{{"message",
                                              {{"content", a > b   ? "[[A]]"
                                                           : a < b ? "[[B]]"
                                                                   : "[[C]]"}}}}}}}
                                         .dump());
  });
  const TempFolder folder;
  const std::string format = folder.write("judge.json", R"({"user": "{response_a}#{response_b}#{prompt}",
    "verdicts": {"a": "A", "b": "B", "tie": "C"}})");
  const Json judge{{"kind", "pairwise"}, {"format", format}, {"endpoint", server.url()},
                   {"model", "m"},       {"concurrency", 3}, {"retries", 0}};
  const Recipe recipe = world().recipe({"judge=" + judge.dump(), "iterations=1"});
  const std::string error = error_of([&] { world().run(recipe, "pairwise"); });
  CHECK(holds(error, "HTTP 401"));
  deadly = 1 << 30;
  world().run(recipe, "pairwise", Resume::yes);
  const int asked = count;
  const std::string run = world().folder / "pairwise";
  CHECK(!fs::exists(run + "/iter-1/train_state"));

  // A second run asks the same questions, and all of them are in the first one's cache.
  Json cached = judge;
  cached["cache"] = run + "/judge-cache.jsonl";
  world().run(world().recipe({"judge=" + cached.dump(), "iterations=1"}), "pairwise-again");
  CHECK(count == asked);
  auto one = files_of(run), two = files_of(world().folder / "pairwise-again");
  for (auto* files : {&one, &two}) {
    files->erase("recipe.json");
    files->erase("judge-cache.jsonl");
  }
  CHECK(first_difference(one, two) == "");

  const Json summary = log_of(run, 1, "judge").at(0);
  CHECK(summary["games"].get<int>() > 20);
  CHECK(summary["errors"] == 0);
  CHECK(summary["consistency"] == 1.0);
  // More a's score higher, and pairs follow.
  std::map<std::pair<std::string, int64_t>, double> scores;
  for (const JudgmentRecord& j : read_judgments(run + "/iter-1/judgments.jsonl"))
    scores[{j.id.dump(), j.sample}] = *j.judged.score;
  const auto pairs = read_jsonl(run + "/iter-1/pairs.jsonl");
  CHECK(!pairs.empty());
  for (const JsonLine& p : pairs) {
    const auto letters = [&](const char* side) {
      const std::string text = p.string(side).substr(p.string(side).find('|'));
      return std::count(text.begin(), text.end(), 'a');
    };
    CHECK(letters("chosen") > letters("rejected"));
    const double score = scores.at({p.id()->dump(), p.integer("chosen_sample")});
    CHECK(p.number("score_chosen") == doctest::Approx(score).epsilon(1e-8));
  }
  // The seed's direct outputs against themselves: a half each, 0 where they did not parse.
  for (const EvalRecord& r : read_evals(run + "/iter-0/eval_direct.jsonl"))
    CHECK(*r.judged.score == (r.sample.valid() ? 0.5 : 0.0));
  for (const EvalRecord& r : read_evals(run + "/iter-1/eval.jsonl")) CHECK(r.judged.score.has_value());
  CHECK(log_of(run, 1, "train").back().contains("select_epoch"));
}
