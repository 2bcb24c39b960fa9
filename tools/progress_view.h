// How progress looks: text made from what is known, the width of the terminal and the time, and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace thinker {

/// Times are seconds of one clock, whatever its zero.
struct ProgressState {
  std::string title;                       // of a run, where there are several
  int64_t iteration = 0, iterations = -1;  // iterations -1: no run
  std::string stage;
  int64_t done = 0, total = 0;           // items of the stage
  int64_t found = 0;                     // items that an earlier run had done
  double began = 0.0;                    // the stage
  int64_t tokens = 0;                    // drawn in this stage
  std::optional<double> tokens_per_s{};  // of the last training step
  std::optional<double> score{}, loss{};
  double iteration_began = 0.0;
  std::optional<double>
      iteration_seconds{};  // mean of whole iterations seen so far; none seen: nothing to foretell from
};

/// "42 s", "3:25", "1:02:30".
std::string duration(double seconds);

/// The live block of a terminal with that many columns: three lines, each narrower than the terminal.
///
///     direct: iteration 2 of 4: sample
///     [#########---------------------]  30 %  154/512  812 tokens/s  1:23 left
///     score 0.412   loss 0.6931   run: 12:30 left
std::vector<std::string> progress_block(const ProgressState& state, int64_t width, double now);

/// The same in one line, for a file.
std::string progress_line(const ProgressState& state, double now);

/// What remains of a stage that is over: "direct: iteration 2 of 4: sample: 512 in 42 s, 812 tokens/s".
std::string stage_summary(const ProgressState& state, double now);

/// "direct: iteration 2 of 4: sample".
std::string place_of(const ProgressState& state);

}  // namespace thinker
