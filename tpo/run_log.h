// log.jsonl of a run: one line a step or stage, in the order of the work.
#pragma once

#include <fstream>
#include <functional>
#include <string>

#include "tpo/jsonl.h"

namespace thinker {

class RunLog {
 public:
  RunLog(std::string path, std::function<void(const Json&)> also);

  /// Begins a stage of an iteration: lines that an interrupted run left of it are dropped, except those of the epochs
  /// that are finished and so will not be run again.
  void begin(int64_t iteration, const std::string& stage, int64_t finished_epochs = 0);

  /// Writes a line of the stage that was begun, with its iteration and name in front.
  void write(const Json& fields);

 private:
  std::string path_;
  std::function<void(const Json&)> also_;
  std::ofstream file_;
  int64_t iteration_ = 0;
  std::string stage_;
};

}  // namespace thinker
