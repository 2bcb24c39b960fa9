// thinker dpo: one stage of preference training on a file of pairs.
#include "tools/common.h"
#include "tools/train_options.h"
#include "tpo/stages/pair.h"
#include "tpo/step_log.h"

namespace thinker {

namespace {

struct Options {
  std::string model, pairs, out, reference, log;
  DpoOptions dpo;
  TrainFlags train;
  LoraFlags lora;
  DeviceOptions device;
  ProgressOptions progress;
};

void run(const Options& options) {
  try {
    check_options(options.dpo);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  const TrainOptions train = options.train.resolve();
  const std::optional<LoraOptions> lora = options.lora.resolve();
  const auto [device, dtype] = options.device.open();
  prepare_folder(options.out);
  Model model = open_model(*device, options.model, dtype);
  std::vector<IdPair> pairs = read_id_pairs(options.pairs, model.text);
  keep_what_fits(pairs, options.pairs, model.net.config().context);
  if (lora) add_lora(model.net, *lora, train.seed, train.iteration);
  const bool own_reference = options.reference.empty();
  const std::vector<ReferenceLogps> reference =
      own_reference ? reference_logps_of_start(model.net, pairs, train)
                    : reference_logps(open_model(*device, options.reference, dtype).net, pairs, train);
  StepLogFile log(options.log);
  const int64_t steps = total_steps(static_cast<int64_t>(pairs.size()), train);
  const auto display = options.progress.show("nothing was saved; the same command begins anew");
  display->at("dpo", 0, steps);
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    const Json line = dpo_step_to_json(step);
    log.write(line);
    display->log(line);
    display->at("dpo", step.step, steps);
  };
  AdamW optimizer(model.net, train.adamw);
  train_dpo(model.net, optimizer, pairs, reference, own_reference ? ReferenceIs::start : ReferenceIs::other,
            options.dpo, train, hooks);
  model.save(options.out);
  if (lora) save_adapter(options.out + "/adapter", model.net, options.model);
}

}  // namespace

void add_dpo(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("dpo", "preference training on pairs");
  command->add_option("MODEL", options->model, "folder or .gguf file")->required();
  command->add_option("--pairs", options->pairs, "JSONL of {\"messages\",\"chosen\",\"rejected\"} or of their ids")
      ->required();
  command->add_option("--out", options->out, "folder for the trained model")->required();
  command->add_option("--beta", options->dpo.beta, "strength of the pull to the reference")->check(number_above(0.0));
  add_choice<DpoLoss>(
      *command, "--loss", options->dpo.loss,
      {{"sigmoid", DpoLoss::sigmoid}, {"ipo", DpoLoss::ipo}, {"cdpo", DpoLoss::cdpo}, {"robust", DpoLoss::robust}},
      "sigmoid, ipo, cdpo or robust");
  command->add_option("--label-smoothing", options->dpo.label_smoothing, "share of flipped labels, for cdpo and robust")
      ->check(number_within(0.0, 0.5));
  command->add_option("--nll", options->dpo.nll, "weight of the chosen's mean NLL (IRPO)")
      ->check(number_within(0.0, 1e9));
  command->add_option("--reference", options->reference, "reference MODEL (default: MODEL as it is at the start)");
  command->add_option("--log", options->log, "JSONL file with one line a step");
  options->train.add_to(*command);
  options->lora.add_to(*command);
  options->device.add_to(*command);
  options->progress.add_to(*command);
  command->callback([options] { run(*options); });
}

}  // namespace thinker
