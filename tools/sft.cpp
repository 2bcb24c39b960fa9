// thinker sft: supervised training on a file of conversations.
#include "tools/common.h"
#include "tools/train_options.h"
#include "tpo/step_log.h"
#include "tpo/supervised.h"

namespace thinker {

namespace {

struct Options {
  std::string model, data, out, log;
  bool all_turns = false;
  TrainFlags train;
  LoraFlags lora;
  DeviceOptions device;
  ProgressOptions progress;
};

void run(const Options& options) {
  const TrainOptions train = options.train.resolve();
  const std::optional<LoraOptions> lora = options.lora.resolve();
  check_training_files(options.out, options.log, {{"MODEL", options.model}, {"--data", options.data}});
  const auto [device, dtype] = options.device.open();
  Model model = open_model(*device, options.model, dtype);
  std::vector<SftExample> examples =
      read_supervised(options.data, model.text, options.all_turns ? TrainedTurns::all : TrainedTurns::last);
  keep_what_fits(examples, options.data, model.net.config().context);
  const OutputFolder folder(options.out);
  if (lora) add_lora(model.net, *lora, train.seed, train.iteration);
  StepLogFile log(options.log);
  const int64_t steps = total_steps(static_cast<int64_t>(examples.size()), train);
  const auto display = options.progress.show("nothing was saved; the same command begins anew");
  display->at("sft", 0, steps);
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    const Json line = sft_step_to_json(step);
    log.write(line);
    display->log(line);
    display->at("sft", step.step, steps);
  };
  train_sft(model.net, examples, train, hooks);
  model.save(options.out);
  if (lora) save_adapter(options.out + "/adapter", model.net, options.model);
}

}  // namespace

void add_sft(Command& program) {
  auto options = std::make_shared<Options>();
  options->train.options.lr = 1e-5;
  Command command = program.add_subcommand("sft", "supervised training on conversations");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--data", options->data, "JSONL of {\"messages\"} or {\"prompt\",\"completion\"}").required();
  command.add_option("--out", options->out, "folder for the trained model").required();
  command.add_flag("--train-all-turns", options->all_turns, "train every assistant message, not only the last");
  command.add_option("--log", options->log, "JSONL file with one line a step");
  options->train.add_to(command);
  options->lora.add_to(command);
  options->device.add_to(command);
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
