// thinker demo: the paper's story at small scale. A seed model is trained from nothing on the tasks of tools/world;
// then the same loop runs twice from it, with thoughts (TPO) and without (the direct baseline), and the two are
// compared.
#include <chrono>
#include <filesystem>
#include <iostream>

#include "tensor/file.h"
#include "tools/common.h"
#include "tools/table.h"
#include "tools/world/demo_recipe.h"
#include "tools/world/seed_text.h"
#include "tpo/report/report.h"
#include "tpo/run.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

struct Options {
  bool quick = false, fresh = false;
  uint64_t seed = 1;
  std::string out = "runs/demo", device = "auto";
};

/// The seed model: trained now, or read where an earlier demo of the same seed left it.
Model seed_model(Device& device, const Options& options, const Progress& progress) {
  const std::string folder = options.out + "/seed";
  if (!fs::exists(folder + "/model.safetensors")) {
    ChatTokenizer text{Tokenizer(world::vocabulary())};
    Transformer net = world::new_seed_model(device, text.tokenizer.vocabulary_size(), options.seed);
    const TrainOptions train = world::seed_training(options.seed);
    const std::vector<SftExample> examples =
        world::seed_examples(text, options.seed, world::seed_text_count(), world::SeedMix{});
    const int64_t steps = steps_per_epoch(static_cast<int64_t>(examples.size()), train) * train.epochs;
    TrainHooks hooks;
    hooks.on_step = [&](const StepLog& step) { progress("train the seed model", step.step, steps); };
    train_sft(net, examples, train, hooks);
    Model{std::move(net), std::move(text)}.save(folder);
  }
  return open_model(device, folder, DType::F32);
}

PromptSets prompt_sets(const Recipe& recipe, int64_t test_prompts) {
  const uint64_t seed = recipe.seed;
  return {[seed](int64_t first, int64_t count) { return world::prompts(seed, world::Split::train, first, count); },
          world::prompts(seed, world::Split::select, 0, 350),
          world::prompts(seed, world::Split::test, 0, test_prompts)};
}

RunResult run_arm(Device& device, const Options& options, world::Arm arm, const Progress& progress) {
  Recipe recipe = world::demo_recipe(options.seed, options.quick);
  recipe.model = options.out + "/seed";
  recipe.name = arm == world::Arm::thinking ? "thinking" : "direct";
  if (arm == world::Arm::thinking) {
    recipe.thought = options.out + "/thought.json";
    write_file_atomically(recipe.thought, world::thought_style_file() + "\n");
  }
  Model model = open_model(device, recipe.model, DType::F32);
  RunOptions run_options;
  run_options.folder = options.out + "/" + recipe.name;
  run_options.resume = Resume::yes;
  run_options.progress = [&](const std::string& what, int64_t done, int64_t total) {
    progress(recipe.name + ": " + what, done, total);
  };
  return run_loop(recipe, model, prompt_sets(recipe, world::kTestPrompts), run_options);
}

/// The rows of the run's own style: the thinking run's first row is the seed without thoughts.
std::vector<EvalSummary> by_iteration(const RunResult& run, bool thinking) {
  std::vector<EvalSummary> list;
  for (size_t i = thinking ? 1 : 0; i < run.rows.size(); ++i) list.push_back(run.rows[i].eval);
  return list;
}

void print_curve(std::ostream& out, const std::vector<EvalSummary>& thinking, const std::vector<EvalSummary>& direct) {
  out << "\nscore by iteration (share of exact answers, 95 % interval)\n";
  out << "iteration   with thoughts (TPO)        direct baseline\n";
  for (size_t t = 0; t < thinking.size() && t < direct.size(); ++t) {
    char line[160];
    std::snprintf(line, sizeof line, "%9zu   %.3f [%.3f, %.3f]       %.3f [%.3f, %.3f]\n", t, thinking[t].score,
                  thinking[t].interval.low, thinking[t].interval.high, direct[t].score, direct[t].interval.low,
                  direct[t].interval.high);
    out << line;
  }
}

void print_claim(std::ostream& out, bool held, const std::string& claim) {
  out << (held ? "held: " : "not held: ") << claim << "\n";
}

void print_claims(std::ostream& out, const std::vector<EvalSummary>& thinking, const std::vector<EvalSummary>& direct) {
  char text[300];
  const EvalSummary &t0 = thinking.front(), &d0 = direct.front(), &t1 = thinking.back(), &d1 = direct.back();
  std::snprintf(text, sizeof text,
                "the seed model is worse when told to think: %.3f against %.3f (set-up: its data makes it so)",
                t0.score, d0.score);
  print_claim(out, t0.interval.high < d0.interval.low, text);
  std::snprintf(text, sizeof text, "after the loop thinking is better than the direct baseline: %.3f against %.3f",
                t1.score, d1.score);
  print_claim(out, t1.interval.low > d1.interval.high, text);
  for (const auto& [category, entry] : t1.categories) {
    const auto other = d1.categories.find(category);
    if (other == d1.categories.end()) continue;
    std::snprintf(text, sizeof text, "%-8s thinking %.3f, direct %.3f", category.c_str(), entry.score,
                  other->second.score);
    out << "  " << text << "\n";
  }
  std::snprintf(text, sizeof text, "parse failures do not rise: %.1f %% at first, %.1f %% at the end",
                100 * (1 - t0.parse_rate), 100 * (1 - t1.parse_rate));
  print_claim(out, t1.parse_rate >= t0.parse_rate, text);
}

/// Removes what a demo writes and nothing else: the folder may be the user's own.
void remove_earlier(const std::string& folder) {
  for (const char* name : {"seed", "thinking", "direct", "thought.json", "report.html"})
    fs::remove_all(folder + "/" + name);
}

void run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.fresh) remove_earlier(options.out);
  prepare_folder(options.out);
  const auto device = open_device(options.device);
  const Progress progress = make_progress();
  seed_model(*device, options, progress);
  const RunResult thinking = run_arm(*device, options, world::Arm::thinking, progress);
  const RunResult direct = run_arm(*device, options, world::Arm::direct, progress);

  std::cout << "with thoughts\n";
  print_rows(std::cout, thinking.rows);
  std::cout << "direct baseline\n";
  print_rows(std::cout, direct.rows);
  const std::vector<EvalSummary> t = by_iteration(thinking, true), d = by_iteration(direct, false);
  print_curve(std::cout, t, d);
  std::cout << "\n";
  print_claims(std::cout, t, d);
  const std::string page = options.out + "/report.html";
  write_report({options.out + "/thinking", options.out + "/direct"}, "Thought Preference Optimization at small scale",
               page);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("\n%.0f seconds\nreport: %s\n", seconds, page.c_str());
}

}  // namespace

void add_demo(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("demo", "the small-scale reproduction: thoughts against none, in minutes");
  command->add_flag("--quick", options->quick, "fewer iterations");
  command->add_flag("--fresh", options->fresh, "remove what an earlier demo left, the seed model too");
  command->add_option("--seed", options->seed, "of data, weights and draws")->check(any_seed());
  command->add_option("--out", options->out, "folder for the runs and the report");
  command->add_option("--device", options->device, "auto, cpu or cuda")->check(one_of({"auto", "cpu", "cuda"}));
  command->callback([options] { run(*options); });
}

}  // namespace thinker
