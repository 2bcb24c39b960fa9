#include "tools/display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <utility>

namespace thinker {

namespace {

constexpr double kPause = 0.1, kPlainPause = 5.0;  // seconds between two blocks, two lines
constexpr double kWorthALine = 1.0;                // seconds of a stage that leaves one

/// A terminal that can move its cursor.
bool is_live() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && term && *term && std::string_view(term) != "dumb";
}

int64_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Display::Display(Quiet quiet, std::string how_to_go_on)
    : quiet_(quiet),
      how_to_go_on_(std::move(how_to_go_on)),
      terminal_(is_live()),
      start_(std::chrono::steady_clock::now()) {
  shown_ = terminal_ ? -1e9 : 0.0;
}

Display::~Display() {
  end_stage();
  erase();
}

double Display::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Display::at(const std::string& stage, int64_t done, int64_t total) {
  if (stage != state_.stage || done < reported_) {
    end_stage();
    state_.stage = stage;
    state_.began = now();
    state_.found = state_.done = done;
    state_.tokens = 0;
    state_.tokens_per_s.reset();
    shown_ = std::min(shown_, state_.began - kPause);  // a terminal shows at once what begins
  }
  if (logged_rate_) state_.tokens_per_s = std::exchange(logged_rate_, std::nullopt);
  if (done != reported_) state_.done = done;
  reported_ = done;
  state_.total = total;
  draw_if_due();
  if (done >= total) return end_stage();
  if (interrupt_.requested()) {
    const std::string place = place_of(state_) + " " + std::to_string(done) + "/" + std::to_string(total);
    state_.stage.clear();
    throw Stopped("stopped in " + place + "; " + how_to_go_on_);
  }
}

void Display::token(const GeneratedSample& sample) {
  ++state_.tokens;
  if (sample.ended && state_.done + 1 < state_.total) ++state_.done;
  draw_if_due();
}

void Display::log(const Json& line) {
  if (line.contains("loss")) state_.loss = line["loss"].get<double>();
  if (line.contains("tokens_per_s")) logged_rate_ = line["tokens_per_s"].get<double>();
  const Json score = line.value("score", Json());  // null where a judge scored nothing
  if (score.is_number() && line.value("stage", "") != "judge") state_.score = score.get<double>();
}

void Display::iteration(int64_t t, int64_t of, Resume begun) {
  const double time = now();
  if (state_.iteration > 0 && begun_ == Resume::no) {
    const double sum = state_.iteration_seconds.value_or(0.0) * static_cast<double>(whole_iterations_);
    state_.iteration_seconds = (sum + time - state_.iteration_began) / static_cast<double>(++whole_iterations_);
  }
  state_.iteration = t;
  state_.iterations = of;
  state_.iteration_began = time;
  begun_ = begun;
}

void Display::say(const std::string& line) {
  if (quiet_ == Quiet::yes) return;
  erase();
  std::cerr << line << "\n" << std::flush;
}

Progress Display::progress() {
  return [this](const std::string& stage, int64_t done, int64_t total) { at(stage, done, total); };
}

void Display::attach(RunOptions* options, const std::string& title) {
  end_stage();
  state_ = {};
  state_.title = title;
  begun_ = Resume::yes;
  whole_iterations_ = 0;
  options->progress = progress();
  options->on_token = [this](const GeneratedSample& sample) { token(sample); };
  options->on_log = [this](const Json& line) { log(line); };
  options->on_iteration = [this](int64_t t, int64_t of, Resume begun) { iteration(t, of, begun); };
}

void Display::end_stage() {
  if (!state_.stage.empty() && reported_ >= state_.total && now() - state_.began >= kWorthALine)
    say(stage_summary(state_, now()));
  erase();
  state_.stage.clear();
  state_.done = reported_ = 0;
}

void Display::draw_if_due() {
  if (!state_.stage.empty() && now() - shown_ >= (terminal_ ? kPause : kPlainPause)) draw();
}

void Display::draw() {
  if (quiet_ == Quiet::yes) return;
  shown_ = now();
  if (!terminal_) {
    std::cerr << progress_line(state_, shown_) << "\n" << std::flush;
    return;
  }
  const int64_t width = terminal_width();
  // A block that another width has wrapped, or below which the note of Ctrl-C was written, stays where it is.
  if (width != width_ || interrupt_.requested() != told_) lines_ = 0;
  told_ = interrupt_.requested();
  width_ = width;
  std::string text = lines_ > 0 ? "\x1b[" + std::to_string(lines_) + "A" : "";
  const std::vector<std::string> block = progress_block(state_, width, shown_);
  for (const std::string& line : block) text += "\r" + line + "\x1b[K\n";
  lines_ = static_cast<int64_t>(block.size());
  std::cerr << text << std::flush;
}

void Display::erase() {
  if (lines_ > 0 && interrupt_.requested() == told_) std::cerr << "\x1b[" << lines_ << "A\r\x1b[J" << std::flush;
  lines_ = 0;
}

}  // namespace thinker
