#include "tools/train_options.h"

#include <algorithm>
#include <filesystem>

#include "tools/commands.h"
#include "tools/validators.h"

namespace thinker {

void TrainFlags::add_to(Command& command) {
  command.add_option("--lr", options.lr, "peak learning rate").check(number_within(0.0, 1.0));
  command.add_option("--schedule", schedule, "constant, linear or cosine")
      .check(one_of({"constant", "linear", "cosine"}));
  command.add_option("--warmup", options.warmup, "steps of linear rise").check(whole(0));
  command.add_option("--batch", options.batch, "examples an optimizer step").check(whole(1));
  command
      .add_option("--micro-tokens", options.micro_tokens,
                  "tokens of one forward; bounds memory, changes nothing beyond rounding")
      .check(whole(1));
  command.add_option("--epochs", options.epochs, "passes over the data").check(whole(1));
  command.add_option("--clip", options.adamw.clip, "greatest norm of the gradient; 0: no clipping")
      .check(number_within(0.0, 1e9));
  command.add_option("--weight-decay", options.adamw.weight_decay, "on matrices only").check(number_within(0.0, 1e9));
  command
      .add_option("--optimizer-state", optimizer_state, "AdamW's moments: f32, bf16 or 8bit (8, 4, 2 bytes a weight)")
      .check(one_of({"f32", "bf16", "8bit"}));
  command.add_flag("--no-shuffle", no_shuffle, "take the data in the file's order");
  command.add_option("--seed", options.seed, "of the shuffle").check(any_seed());
}

TrainOptions TrainFlags::resolve() const {
  TrainOptions resolved = options;
  resolved.schedule = schedule_from_name(schedule);
  resolved.adamw.state = optimizer_state_from_name(optimizer_state);
  resolved.order = no_shuffle ? Order::as_given : Order::shuffled;
  return resolved;
}

void LoraFlags::add_to(Command& command) {
  const Argument rank = command.add_option("--lora-rank", rank_, "train adapters of this rank; without it, all weights")
                            .check(whole(1, kGreatestLoraRank));
  command.add_option("--lora-alpha", options_.alpha, "adapters count alpha / rank times")
      .check(number_above(0.0))
      .needs(rank);
  command.add_option("--lora-targets", options_.targets, "layers with adapters, by commas (default: all linear layers)")
      .check(one_of(lora_targets()))
      .by_commas()
      .needs(rank);
}

std::optional<LoraOptions> LoraFlags::resolve() const {
  if (!rank_) return std::nullopt;
  const auto& targets = options_.targets;
  for (auto at = targets.begin(); at != targets.end(); ++at)
    if (std::find(targets.begin(), at, *at) != at) throw UsageError("--lora-targets names " + *at + " twice");
  LoraOptions options = options_;
  options.rank = *rank_;
  return options;
}

void check_training_files(const std::string& out, const std::string& log, const std::vector<NamedFile>& inputs) {
  check_not_overwritten({{"--out", out}, {"--log", log}}, inputs);
}

OutputFolder::OutputFolder(const std::string& path) : path_(path), was_there_(std::filesystem::exists(path)) {
  prepare_folder(path);
}

OutputFolder::~OutputFolder() {
  std::error_code not_empty;
  if (!was_there_) std::filesystem::remove(path_, not_empty);
}

StepLogFile::StepLogFile(const std::string& path) : path_(path) {
  if (path.empty()) return;
  file_.open(path, std::ios::binary);
  if (!file_) fail(path, ": cannot be opened for writing");
}

void StepLogFile::write(const Json& line) {
  if (path_.empty()) return;
  file_ << dump_json(line) << "\n" << std::flush;
  if (!file_) fail(path_, ": cannot be written (is the disk full?)");
}

}  // namespace thinker
