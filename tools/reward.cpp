// thinker reward: trains a reward model on pairs and reports on those held out.
#include "tpo/stages/reward.h"

#include <charconv>
#include <iostream>

#include "tools/common.h"
#include "tools/train_options.h"
#include "tpo/step_log.h"

namespace thinker {

namespace {

struct Options {
  std::string model, pairs, out, held_out = "0.1", log;
  double center = 0.0;
  TrainFlags train;
  DeviceOptions device;
  ProgressOptions progress;
};

/// The share that --held-out names, or nothing where it names a file.
std::optional<double> as_share(const std::string& text) {
  double share = 0.0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, share);
  if (error != std::errc() || at != end) return std::nullopt;
  if (!(share >= 0.0 && share < 1.0)) throw UsageError("--held-out " + text + ": a share is from 0 to below 1");
  return share;
}

HeldOut read_pairs(const Options& options, const std::optional<double>& share, const TextRewardModel& model) {
  const int64_t context = model.net.body().config().context;
  HeldOut pairs;
  pairs.train = read_reward_pairs(options.pairs, model.text);
  keep_what_fits(pairs.train, options.pairs, context);
  if (share) {
    pairs = hold_out(std::move(pairs.train), *share, options.train.options.seed);
  } else {
    pairs.held_out = read_reward_pairs(options.held_out, model.text);
    keep_what_fits(pairs.held_out, options.held_out, context);
    check_disjoint(pairs.train, pairs.held_out, options.held_out);
  }
  std::cerr << pairs.train.size() << " pairs to train on, " << pairs.held_out.size() << " held out\n";
  return pairs;
}

void run(const Options& options) {
  const std::optional<double> share = as_share(options.held_out);
  const TrainOptions train = options.train.resolve();
  check_training_files(
      options.out, options.log,
      {{"MODEL", options.model}, {"--pairs", options.pairs}, {"--held-out", share ? "" : options.held_out}});
  const auto [device, dtype] = options.device.open();
  const OutputFolder folder(options.out);
  TextRewardModel model = open_reward_model(*device, options.model, dtype, NoScore::zeros);
  const HeldOut pairs = read_pairs(options, share, model);
  StepLogFile log(options.log);
  const int64_t steps = total_steps(static_cast<int64_t>(pairs.train.size()), train);
  const auto display = options.progress.show("nothing was saved; the same command begins anew");
  display->at("reward", 0, steps);
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    const Json line = reward_step_to_json(step);
    log.write(line);
    display->log(line);
    display->at("reward", step.step, steps);
  };
  AdamW optimizer(model.net, train.adamw);
  train_reward(model.net, optimizer, pairs.train, options.center, train, hooks);
  model.save(options.out);
  if (pairs.held_out.empty()) return;
  print_line(reward_report(pairs.held_out, pair_rewards(model.net, pairs.held_out, train), options.center));
}

}  // namespace

void add_reward(Command& program) {
  auto options = std::make_shared<Options>();
  options->train.options.lr = 1e-5;
  Command command = program.add_subcommand("reward", "train a reward model on pairs");
  command.add_option("MODEL", options->model, "language or reward model: folder or .gguf file").required();
  command
      .add_option("--pairs", options->pairs,
                  "JSONL of {\"messages\",\"chosen\",\"rejected\"} or of their ids, each with a \"margin\" or without")
      .required();
  command.add_option("--out", options->out, "folder for the reward model").required();
  command.add_option("--held-out", options->held_out, "pairs to report on: a file, or a share of --pairs");
  command.add_option("--center", options->center, "weight of (r_chosen + r_rejected)^2, which holds rewards near 0")
      .check(number_within(0.0, 1e9));
  command.add_option("--log", options->log, "JSONL file with one line a step");
  options->train.add_to(command);
  options->device.add_to(command);
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
