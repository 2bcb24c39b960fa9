// Shows where work is, on stderr: on a terminal one live block, otherwise a plain line every few seconds. And it is
// where Ctrl-C takes effect: at a report of progress, whose stage then has still something to do.
#pragma once

#include <chrono>
#include <iosfwd>
#include <memory>
#include <string>

#include "tools/interrupt.h"
#include "tools/progress_view.h"
#include "tpo/run.h"

namespace thinker {

enum class Quiet { no, yes };

class Display {
 public:
  /// how_to_go_on: what a person is told who stopped the work, such as "run the same command again".
  Display(Quiet quiet, std::string how_to_go_on);
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;
  ~Display();

  /// A report of a stage. Throws Stopped after Ctrl-C, unless the stage is at its end: what it did is kept first.
  void at(const std::string& stage, int64_t done, int64_t total);
  /// A sample got a token.
  void token(const GeneratedSample& sample);
  /// A line of a log: its score and its loss are shown from then on.
  void log(const Json& line);
  /// An iteration of a run begins; Resume::yes: an earlier run began it.
  void iteration(int64_t t, int64_t of, Resume begun);
  /// A line that stays.
  void say(const std::string& line);

  /// at() as a function, which must not outlive the display.
  Progress progress();
  /// Lets a run report here. title tells several runs apart.
  void attach(RunOptions* options, const std::string& title = "");

 private:
  double now() const;
  void draw_if_due();
  void draw();
  void erase();
  void end_stage();

  Quiet quiet_;
  std::string how_to_go_on_;
  bool terminal_;
  Interrupt interrupt_;
  std::chrono::steady_clock::time_point start_;
  ProgressState state_;
  int64_t reported_ = 0;               // done, by the last report: state_.done goes on with each sample
  std::optional<double> logged_rate_;  // until the step that it is of is reported
  int64_t whole_iterations_ = 0;       // seen from beginning to end
  Resume begun_ = Resume::yes;         // the current one
  double shown_ = -1e9;                // when
  int64_t lines_ = 0, width_ = 0;      // of the block on the screen
  bool told_ = false;                  // that the program is stopping
};

}  // namespace thinker
