// Options that `thinker sft`, `thinker dpo` and `thinker reward` share, and their log file.
#pragma once

#include <fstream>
#include <iostream>
#include <optional>
#include <string>

#include "nn/lora.h"
#include "tools/common.h"
#include "tpo/jsonl.h"
#include "tpo/training.h"

namespace thinker {

/// --lr, --schedule, --warmup, --batch, --micro-tokens, --epochs, --clip, --weight-decay, --optimizer-state,
/// --no-shuffle, --seed.
struct TrainFlags {
  TrainOptions options;
  std::string schedule = "linear", optimizer_state = "f32";
  bool no_shuffle = false;

  void add_to(Command& command);
  TrainOptions resolve() const;
};

/// --lora-rank, --lora-alpha, --lora-targets.
class LoraFlags {
 public:
  void add_to(Command& command);
  /// Nothing without --lora-rank. Throws UsageError when a layer is named twice.
  std::optional<LoraOptions> resolve() const;

 private:
  std::optional<int64_t> rank_;
  LoraOptions options_;
};

/// Throws UsageError where --out or --log is an input or the other; of a model's folder each file counts.
void check_training_files(const std::string& out, const std::string& log, const std::vector<NamedFile>& inputs);

/// The folder that a trained model will be saved to. Made before the work, since it may turn out that it cannot be; one
/// that was made and is still empty at the end, since the work failed or was interrupted, goes again.
class OutputFolder {
 public:
  explicit OutputFolder(const std::string& path);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

 private:
  std::string path_;
  bool was_there_;
};

/// Writes lines to FILE, each at once, or does nothing when the name is empty. Throws Error when a line cannot be
/// written.
class StepLogFile {
 public:
  explicit StepLogFile(const std::string& path);
  void write(const Json& line);

 private:
  std::string path_;
  std::ofstream file_;
};

/// Leaves out the examples of FILE that are longer than the model's context, and says on stderr how many. Throws Error
/// when the file holds none, or none is left.
template <class Example>
void keep_what_fits(std::vector<Example>& examples, const std::string& file, int64_t context) {
  if (examples.empty()) fail(file, ": holds no examples");
  const size_t all = examples.size();
  const int64_t dropped = drop_longer_than(context, examples);
  if (examples.empty()) fail(file, ": every example is longer than the model's context of ", context, " tokens");
  if (dropped > 0)
    std::cerr << file << ": " << dropped << " of " << all << " left out: longer than the model's context of " << context
              << " tokens\n";
}

}  // namespace thinker
