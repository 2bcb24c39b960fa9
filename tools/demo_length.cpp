// thinker demo-length: why length control is there. A tiny model is trained from nothing to talk (tools/world/talk.h);
// then the same loop runs twice under a judge whose score rises with length: with rho 0, and with rho "auto".
#include <chrono>
#include <filesystem>

#include "tools/common.h"
#include "tools/world/seed_model.h"
#include "tools/world/talk.h"
#include "tpo/report/report.h"
#include "tpo/run.h"
#include "tpo/step_log.h"
#include "tpo/supervised.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kTestPrompts = 400, kPromptsPerIteration = 200, kIterations = 4;
constexpr int64_t kSeedTexts = 64 * 400;

// What counts as growing and as staying. A standard error of a mean length over the test prompts is about 4 %.
constexpr double kGrown = 1.25, kStayed = 1.15;

struct Options {
  uint64_t seed = 1;
  double length_bias = 2.0, noise = 0.4;
  std::string out = "runs/demo-length", device = "auto";
  ProgressOptions progress;
};

void make_seed_model(Device& device, const Options& options, Display& display) {
  const std::string folder = options.out + "/seed";
  if (fs::exists(folder + "/model.safetensors")) return;
  ChatTokenizer text{Tokenizer(world::talk_vocabulary())};
  Transformer net = world::new_model(device, world::talk_config(text.tokenizer.vocabulary_size()), options.seed);
  TrainOptions train = world::seed_training({}, options.seed);
  train.warmup = 20;
  const std::vector<SftExample> examples = world::talk_examples(text, options.seed, kSeedTexts);
  const int64_t steps = total_steps(static_cast<int64_t>(examples.size()), train);
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    display.log(sft_step_to_json(step));
    display.at("train the seed model", step.step, steps);
  };
  train_sft(net, examples, train, hooks);
  Model{std::move(net), std::move(text)}.save(folder);
}

Recipe recipe_of(const Options& options, bool controlled) {
  Recipe r;
  r.name = controlled ? "controlled" : "free";
  r.seed = options.seed;
  r.model = options.out + "/seed";
  // For the reader of recipe.json; the demo makes the prompts itself.
  r.prompts.train.generator = r.prompts.test.generator = "talk";
  r.prompts.train.count = kIterations * kPromptsPerIteration;
  r.prompts.test.count = kTestPrompts;
  r.thought = "none";
  r.warmup.samples = 0;
  r.iterations = kIterations;
  r.prompts_per_iteration = kPromptsPerIteration;
  r.sampling = {.k = 8, .temperature = 1.0, .top_p = 1.0, .max_new = 120};
  r.judge = {{"kind", "rule"}, {"length_bias", options.length_bias}, {"noise", options.noise}, {"seed", options.seed}};
  r.pairs.auto_rho = controlled;
  r.dpo.lr = 5e-4;
  r.dpo.batch = 32;
  r.dpo.epochs = 2;
  r.select = Select::last;
  r.eval = {.temperature = 1.0, .top_p = 1.0, .resample = 2};
  return r;
}

/// One line of the table: what came of an iteration, scored without the judge's taste for length.
struct Row {
  double length, quality;
  Interval known;  // quality, at 95 %
};

std::vector<Row> run_arm(Device& device, const Options& options, bool controlled, Display& display) {
  const Recipe recipe = recipe_of(options, controlled);
  const PromptSets prompts{[](int64_t first, int64_t count) { return world::talk_prompts(first, count); },
                           {},
                           world::talk_prompts(500'000, kTestPrompts)};
  Model model = open_model(device, recipe.model, DType::F32);
  RunOptions run;
  run.folder = options.out + "/" + recipe.name;
  run.resume = Resume::yes;
  display.attach(&run, recipe.name);
  run_loop(recipe, model, prompts, run);
  std::vector<Row> rows;
  const auto fair = make_judge({{"kind", "rule"}});
  for (int64_t t = 0; t <= recipe.iterations; ++t) {
    std::vector<EvalRecord> records = read_evals(run.folder + "/iter-" + std::to_string(t) + "/eval.jsonl");
    judge_records(records, *fair, prompts.test);
    const EvalSummary summary = summarise(records, recipe.seed);
    rows.push_back({summary.response_length, summary.score, summary.interval});
  }
  return rows;
}

void print_claim(bool held, const char* claim, double before, double after) {
  std::printf("%s: %s: %.1f -> %.1f\n", held ? "held" : "not held", claim, before, after);
}

void run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  prepare_folder(options.out);
  const auto device = DeviceOptions{options.device, "f32"}.open().device;
  const auto display = options.progress.show("the same command goes on from there");
  make_seed_model(*device, options, *display);
  const std::vector<Row> free = run_arm(*device, options, false, *display);
  const std::vector<Row> controlled = run_arm(*device, options, true, *display);
  std::printf("held-out responses by iteration: mean characters, and share about the right animal\n");
  std::printf("iteration     rho 0             rho auto\n");
  for (size_t t = 0; t < free.size(); ++t)
    std::printf("%9zu   %6.1f  %5.3f     %6.1f  %5.3f\n", t, free[t].length, free[t].quality, controlled[t].length,
                controlled[t].quality);
  const double seed = free.front().length;
  print_claim(free.back().length > kGrown * seed, "without length control responses grow", seed, free.back().length);
  print_claim(controlled.back().length < kStayed * seed, "with it they do not", seed, controlled.back().length);
  print_claim(controlled.back().known.low > controlled.front().known.high, "and still the answers get better, %",
              100 * controlled.front().quality, 100 * controlled.back().quality);
  const std::string page = options.out + "/report.html";
  write_report({options.out + "/free", options.out + "/controlled"}, "Length control against a judge that likes length",
               page);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%.0f seconds; report: %s\n", seconds, page.c_str());
}

}  // namespace

void add_demo_length(Command& program) {
  auto options = std::make_shared<Options>();
  Command command =
      program.add_subcommand("demo-length", "length control against a judge that likes length, in minutes");
  command.add_option("--seed", options->seed, "of data, weights and draws").check(any_seed());
  command.add_option("--length-bias", options->length_bias, "score that the judge adds for 1000 characters")
      .check(number_within(-1000, 1000));
  command.add_option("--noise", options->noise, "deviation of what it adds at random").check(number_within(0, 1000));
  command.add_option("--out", options->out, "folder for the runs and the report; continued where it stopped");
  command.add_option("--device", options->device, "auto, cpu or cuda").check(one_of({"auto", "cpu", "cuda"}));
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
