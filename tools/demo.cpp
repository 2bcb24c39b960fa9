// thinker demo: the paper's story at small scale. A seed model is trained from nothing on the tasks of tools/world;
// then the same loop runs from it, with thoughts (TPO), without (the direct baseline), and in the arms that test what
// made the difference. The claims are checked on the runs and printed; the page shows all of it.
#include <chrono>
#include <filesystem>
#include <iostream>

#include "tensor/file.h"
#include "tools/common.h"
#include "tools/plan.h"
#include "tools/world/claims.h"
#include "tools/world/kinds.h"
#include "tools/world/plan.h"
#include "tpo/report/report.h"
#include "tpo/report/sections.h"
#include "tpo/run.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

struct Options {
  bool quick = false, fresh = false;
  uint64_t seed = 11;
  std::vector<std::string> set;
  std::string out = "runs/demo", device = "auto";
  ProgressOptions progress;

  world::Extent extent() const { return quick ? world::Extent::quick : world::Extent::full; }
  std::vector<uint64_t> seeds() const { return quick ? std::vector{seed} : std::vector{seed, seed + 1, seed + 2}; }
  /// Where an arm's run of one seed lies within `out`.
  static std::string run_of(const world::Arm& arm, uint64_t seed) { return concat("seed-", seed, "/", arm.name); }
};

/// Where the seed models lie: they differ by what products are computed in.
std::string seed_models_folder(const std::string& out, DtypeChoice dtype) {
  return out + "/seed-models" + (dtype == DtypeChoice::f32 ? "" : concat("-", name(dtype)));
}

void run_arm(const OpenDevice& opened, const Options& options, const world::DemoPlan& plan, const world::Arm& arm,
             uint64_t seed, Display& display) {
  const world::SeedPlan made = arm.useful_seed ? plan.seed_model : world::without_useful_thoughts(plan.seed_model);
  RunOptions run;
  run.folder = options.out + "/" + Options::run_of(arm, seed);
  run.resume = Resume::yes;
  display.attach(&run, concat("seed ", seed, ", ", arm.name));
  const std::string model_folder = world::seed_model_in(seed_models_folder(options.out, plan.recipe.dtype),
                                                        *opened.device, made, seed, run.progress);
  Model model = open_model(*opened.device, model_folder, opened.dtype);
  run_loop(world::arm_recipe(plan, arm, seed, model_folder, options.out + "/thought.json"), model,
           world::demo_prompts(plan, seed), run);
}

std::vector<std::string> introduction(const Options& options, const world::DemoPlan& plan) {
  return {
      "A small language model is trained from nothing on seven kinds of task, then improved by preference alone: it "
      "writes several outputs to each prompt, a judge that sees only the responses scores them, and the best and the "
      "worst become a training pair. One arm is told to think first and trains on thought and response together "
      "(Thought Preference Optimization); the direct baseline is trained by the same loop without thoughts.",
      "In three kinds of task (turn, ball, add) a list of steps must be followed, which so small a network cannot do "
      "in "
      "one pass but can when it writes down where it stands after each step. In the others (copy, reverse, max, fact) "
      "thinking should make no difference. The seed model has met worked solutions, but when told to think it rambles: "
      "a useful thought comes in " +
          std::to_string(static_cast<int>(100 * plan.seed_model.mix.useful + 0.5)) +
          " % of the thoughts it was taught, and answers after a useless one are spoilt more often. That thinking "
          "starts "
          "as a disadvantage, and that useless thoughts are long, is therefore set-up. What the loop makes of it is "
          "the "
          "finding.",
      concat("Every arm has the same prompts, judge and training options; each "
             "evaluation samples one output to each of ",
             plan.test_prompts, " held-out prompts of each seed (", options.quick ? "one seed" : "three seeds",
             ", of data, weights and draws).")};
}

Experiment experiment_of(const Options& options, const world::DemoPlan& plan, const std::vector<world::Arm>& arms) {
  Experiment experiment;
  experiment.title = "Thought Preference Optimization at small scale";
  experiment.introduction = introduction(options, plan);
  for (const world::Arm& arm : arms) {
    ExperimentArm entry{arm.name, arm.label, {}};
    for (uint64_t seed : options.seeds()) entry.runs.push_back(Options::run_of(arm, seed));
    experiment.arms.push_back(std::move(entry));
  }
  experiment.seed_recipe = world::seed_plan_to_json(plan.seed_model);
  return experiment;
}

/// Checks the claims on the finished runs, prints them below the curves, and writes experiment.json and the page.
void conclude(const Options& options, Experiment experiment, const std::string& page) {
  const std::string file = options.out + "/experiment.json";
  const auto write = [&] { write_file_atomically(file, experiment_to_json(experiment).dump(2) + "\n"); };
  write();
  const report::Runs runs = report::read_runs(read_experiment(options.out));
  world::ArmsByName arms;
  for (const report::Arm& arm : report::arms_of(runs)) arms[experiment.arms[arm.runs.front()->arm].name] = arm;
  experiment.claims = world::check_claims(arms);
  experiment.exhibits = {world::kinds_of_thought(arms.at("thinking"))};
  write();
  std::cout << "score by iteration (share of exact answers, 95 % interval)\n"
            << report::curve_table(runs).markdown() << "\n";
  for (const Claim& claim : experiment.claims)
    std::cout << (claim.held ? "held: " : "not held: ") << "(" << claim.id << ") "
              << (claim.kind == Claim::Kind::set_up ? "[set-up] " : "") << claim.text << "\n";
  write_file_atomically(page, report_page(read_experiment(options.out), runs));
}

/// Removes what a demo writes and nothing else: the folder may be the user's own.
void remove_earlier(const Options& options) {
  std::vector<std::string> names = {"thought.json", "experiment.json", "report.html"};
  for (uint64_t seed : options.seeds()) names.push_back(concat("seed-", seed));
  for (const std::string& name : names) fs::remove_all(options.out + "/" + name);
  for (DtypeChoice dtype : {DtypeChoice::automatic, DtypeChoice::f32, DtypeChoice::bf16})
    fs::remove_all(seed_models_folder(options.out, dtype));
}

void run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const world::DemoPlan plan = world::demo_plan(options.set);
  const std::vector<world::Arm> arms = world::arms(options.extent());
  if (options.fresh) remove_earlier(options);
  prepare_folder(options.out);
  write_file_atomically(options.out + "/thought.json", world::thought_style_file() + "\n");
  const OpenDevice opened = DeviceOptions{options.device, name(plan.recipe.dtype)}.open();
  {
    const auto display =
        options.progress.show("the same command goes on; only an unfinished seed model is trained anew");
    for (uint64_t seed : options.seeds())
      for (const world::Arm& arm : arms) run_arm(opened, options, plan, arm, seed, *display);
  }

  const std::string page = options.out + "/report.html";
  conclude(options, experiment_of(options, plan, arms), page);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("\n%.0f seconds\n%sreport: %s\n", seconds, work_done(*opened.device, seconds).c_str(), page.c_str());
}

}  // namespace

void add_demo(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("demo", "the small-scale reproduction: thoughts against none, in minutes");
  command.add_flag("--quick", options->quick, "one seed, and the two arms that tell the story");
  command.add_flag("--fresh", options->fresh, "remove what an earlier demo left, the seed models too");
  command.add_option("--seed", options->seed, "of data, weights and draws; the full demo takes the next two as well")
      .check(any_seed());
  command
      .add_option("--set", options->set,
                  "change a setting: sampling.k=4, dpo.beta=0.3, judge.noise=0.2, seed_model.useful=0.05, "
                  "seed_model.width=64, dtype=bf16 (may be repeated)")
      .repeatable();
  command.add_option("--out", options->out, "folder for the runs and the report");
  command.add_option("--device", options->device, "auto, cpu or cuda").check(one_of({"auto", "cpu", "cuda"}));
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
