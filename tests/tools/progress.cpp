// How progress looks, as a function of what is known, the width and the time.
#include <doctest/doctest.h>

#include "tools/progress_view.h"
#include "tpo/text.h"

using namespace thinker;

namespace {

ProgressState sampling() {
  ProgressState s;
  s.title = "direct";
  s.iteration = 2;
  s.iterations = 4;
  s.stage = "sample";
  s.done = 154;
  s.total = 512;
  s.began = 100;
  s.tokens = 24360;
  s.score = 0.4123;
  s.loss = 0.69315;
  s.iteration_began = 90;
  s.iteration_seconds = 300;
  return s;
}

}  // namespace

TEST_CASE("progress: durations") {
  CHECK(duration(0) == "0 s");
  CHECK(duration(41.2) == "42 s");
  CHECK(duration(59.9) == "1:00");
  CHECK(duration(205) == "3:25");
  CHECK(duration(3750) == "1:02:30");
  CHECK(duration(-3) == "0 s");
  CHECK(duration(1e300) == "277777:46:40");
}

TEST_CASE("progress: the block of a terminal, and the line of a file") {
  const ProgressState s = sampling();
  CHECK(progress_block(s, 80, 130) ==
        std::vector<std::string>{"direct: iteration 2 of 4: sample",
                                 "[#########---------------------]   30 %  154/512  812 tokens/s  1:10 left",
                                 "score 0.412   loss 0.6932   run: 14:20 left"});
  CHECK(progress_line(s, 130) ==
        "direct: iteration 2 of 4: sample 154/512, 812 tokens/s, 1:10 left, score 0.412, loss 0.6932, run: 14:20 left");
  ProgressState over = s;
  over.done = over.total;
  CHECK(stage_summary(over, 130) == "direct: iteration 2 of 4: sample: 512 in 30 s, 812 tokens/s");
}

TEST_CASE("progress: no line is as wide as the terminal, whatever is known") {
  ProgressState s = sampling();
  s.title = "übermäßig langer Titel eines Laufs";
  for (int64_t width = 1; width < 200; ++width) {
    for (const std::string& line : progress_block(s, width, 130)) {
      CHECK(count_code_points(line) < std::max<int64_t>(width, 2));
      CHECK(first_invalid_utf8(line) < 0);
      CHECK(line.find('\n') == line.npos);
    }
  }
}

TEST_CASE("progress: what is not known is not told") {
  ProgressState s;
  s.stage = "judge";
  s.total = 8;
  s.began = 10;
  CHECK(progress_line(s, 10) == "judge 0/8");
  CHECK(progress_line(s, 60) == "judge 0/8");  // nothing done, nothing to foretell
  s.done = 2;
  CHECK(progress_line(s, 14) == "judge 2/8, 2.0 s each, 12 s left");
  CHECK(progress_line(s, 10.5) == "judge 2/8, 4.0 a second, 2 s left");
  s.found = 2;  // by an earlier run: nothing of it is speed of this one
  CHECK(progress_line(s, 14) == "judge 2/8");
  s.total = 0;
  CHECK(progress_block(s, 80, 14)[1] == "[------------------------------]    0 %  2/0");
  s.iteration_seconds = 100;  // no iteration yet: the run's end is not told
  CHECK(progress_line(s, 14) == "judge 2/0");
}
