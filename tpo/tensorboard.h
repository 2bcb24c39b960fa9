// A run's log for TensorBoard: FOLDER/events.out.tfevents.thinker (see tpo/event_file.h), one event for each line of
// log.jsonl. Steps of training count on through the iterations; all else is told by iteration.
//
//     train/loss …, select/score …       by training step of the whole run
//     warmup/loss …                      by step of the warm-up
//     eval/score …, eval/score/CATEGORY, eval_direct/…, eval_warmup/…, sample/…, judge/…, pair/…    by iteration
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "tpo/event_file.h"
#include "tpo/jsonl.h"

namespace thinker {

/// Turns the lines of a log, in order, into events; wall_time is left to the caller.
class LogScalars {
 public:
  ScalarEvent event_of(const Json& line);

 private:
  int64_t steps_ = 0;  // of training, so far
};

class TensorBoardLog {
 public:
  explicit TensorBoardLog(std::string folder);

  /// A line that stays in the log, and the number (from 0) that it had before others were dropped.
  struct Kept {
    size_t was;
    std::string line;
  };

  /// Makes the file hold the events of these lines and no others; those that it had keep their time. A running
  /// TensorBoard goes on reading unless lines were dropped.
  void begin(const std::vector<Kept>& lines);

  /// Appends the event of the log's next line. Throws Error when the disk is full.
  void add(const std::string& line);

 private:
  std::string path_;
  LogScalars scalars_;
  std::ofstream file_;
};

}  // namespace thinker
