// log.jsonl of a run: one line a step or stage, in the order of the work; on request the same for TensorBoard.
#pragma once

#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include "tpo/jsonl.h"
#include "tpo/tensorboard.h"

namespace thinker {

class RunLog {
 public:
  /// tensorboard: a folder for its file; empty: none.
  RunLog(std::string path, const std::string& tensorboard, std::function<void(const Json&)> also);

  /// Begins a stage of an iteration: lines that an interrupted run left of it are dropped, except those of the epochs
  /// that are finished and so will not be run again.
  void begin(int64_t iteration, const std::string& stage, int64_t finished_epochs = 0);

  /// Writes a line of the stage that was begun, with its iteration and name in front.
  void write(const Json& fields);

 private:
  std::string path_;
  std::function<void(const Json&)> also_;
  std::ofstream file_;
  std::optional<TensorBoardLog> tensorboard_;
  int64_t iteration_ = 0;
  std::string stage_;
};

}  // namespace thinker
