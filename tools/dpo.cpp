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

/// The pairs are ids of the policy's tokens: to a reference that has others they would be other texts.
void check_same_tokens(const Options& options, const Model& model, const Model& reference) {
  const auto &ours = model.text.tokenizer.spec().tokens, &theirs = reference.text.tokenizer.spec().tokens;
  const int64_t our_size = model.net.config().vocab, their_size = reference.net.config().vocab;
  if (our_size != their_size)
    fail("--reference ", options.reference, ": has a vocabulary of ", their_size, ", but ", options.model, " one of ",
         our_size, "; the reference must be of the same tokenizer");
  if (ours != theirs)
    fail("--reference ", options.reference, ": its tokens are others than those of ", options.model,
         "; the reference must be of the same tokenizer");
}

std::vector<ReferenceLogps> reference_of(const Options& options, const OpenDevice& on, Model& model,
                                         const std::vector<IdPair>& pairs, const TrainOptions& train) {
  if (options.reference.empty()) return reference_logps_of_start(model.net, pairs, train);
  const Model reference = open_model(*on.device, options.reference, on.dtype);
  check_same_tokens(options, model, reference);
  return reference_logps(reference.net, pairs, train);
}

void run(const Options& options) {
  try {
    check_options(options.dpo);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  const TrainOptions train = options.train.resolve();
  const std::optional<LoraOptions> lora = options.lora.resolve();
  check_training_files(options.out, options.log,
                       {{"MODEL", options.model}, {"--pairs", options.pairs}, {"--reference", options.reference}});
  const OpenDevice on = options.device.open();
  const OutputFolder folder(options.out);
  Model model = open_model(*on.device, options.model, on.dtype);
  std::vector<IdPair> pairs = read_id_pairs(options.pairs, model.text);
  keep_what_fits(pairs, options.pairs, model.net.config().context);
  if (lora) add_lora(model.net, *lora, train.seed, train.iteration);
  const std::vector<ReferenceLogps> reference = reference_of(options, on, model, pairs, train);
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
  train_dpo(model.net, optimizer, pairs, reference, options.reference.empty() ? ReferenceIs::start : ReferenceIs::other,
            options.dpo, train, hooks);
  model.save(options.out);
  if (lora) save_adapter(options.out + "/adapter", model.net, options.model);
}

}  // namespace

void add_dpo(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("dpo", "preference training on pairs");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--pairs", options->pairs, "JSONL of {\"messages\",\"chosen\",\"rejected\"} or of their ids")
      .required();
  command.add_option("--out", options->out, "folder for the trained model").required();
  command.add_option("--beta", options->dpo.beta, "strength of the pull to the reference").check(number_above(0.0));
  command.add_choice<DpoLoss>(
      "--loss", options->dpo.loss,
      {{"sigmoid", DpoLoss::sigmoid}, {"ipo", DpoLoss::ipo}, {"cdpo", DpoLoss::cdpo}, {"robust", DpoLoss::robust}},
      "sigmoid, ipo, cdpo or robust");
  command.add_option("--label-smoothing", options->dpo.label_smoothing, "share of flipped labels, for cdpo and robust")
      .check(number_within(0.0, 0.5));
  command.add_option("--nll", options->dpo.nll, "weight of the chosen's mean NLL (IRPO)")
      .check(number_within(0.0, 1e9));
  command.add_option("--reference", options->reference, "reference MODEL (default: MODEL as it is at the start)");
  command.add_option("--log", options->log, "JSONL file with one line a step");
  options->train.add_to(command);
  options->lora.add_to(command);
  options->device.add_to(command);
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
