#include "tools/progress_view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tpo/text.h"

namespace thinker {

namespace {

constexpr int64_t kBar = 30;

template <class... Values>
std::string text_of(const char* format, Values... values) {
  char text[100];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

/// The first `columns` characters.
std::string cut(const std::string& line, int64_t columns) {
  int64_t seen = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(line[i]) & 0xc0) != 0x80;
    if (begins && seen++ == columns) return line.substr(0, i);
  }
  return line;
}

double share_of(const ProgressState& s) {
  return s.total > 0 ? std::clamp(static_cast<double>(s.done) / static_cast<double>(s.total), 0.0, 1.0) : 0.0;
}

/// In tokens where they are known, in items otherwise; empty while there is nothing to tell.
std::string rate_of(const ProgressState& s, double now) {
  const double seconds = now - s.began, items = static_cast<double>(s.done - s.found);
  if (s.tokens > 0 && seconds > 0) return text_of("%.0f tokens/s", static_cast<double>(s.tokens) / seconds);
  if (s.tokens_per_s) return text_of("%.0f tokens/s", *s.tokens_per_s);
  if (!(items > 0 && seconds > 0)) return "";
  if (items < seconds) return text_of("%.1f s each", seconds / items);
  return text_of("%.*f a second", items < 10 * seconds ? 1 : 0, items / seconds);
}

std::string stage_left(const ProgressState& s, double now) {
  const double items = static_cast<double>(s.done - s.found);
  if (!(items > 0) || s.done >= s.total) return "";
  return duration((now - s.began) / items * static_cast<double>(s.total - s.done)) + " left";
}

/// Of the whole run, as if the iterations to come took as long as those before.
std::string run_left(const ProgressState& s, double now) {
  if (!s.iteration_seconds || s.iteration < 1) return "";
  const double rest = std::max(0.0, *s.iteration_seconds - (now - s.iteration_began));
  return "run: " + duration(rest + *s.iteration_seconds * static_cast<double>(s.iterations - s.iteration)) + " left";
}

std::string joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!part.empty()) text += (text.empty() ? "" : separator) + part;
  }
  return text;
}

std::string bar(double share, int64_t width) {
  const auto full = static_cast<int64_t>(share * static_cast<double>(width));
  return "[" + std::string(full, '#') + std::string(width - full, '-') + "]";
}

std::string count_of(const ProgressState& s) {
  return std::to_string(s.done) + "/" + std::to_string(s.total);
}

std::vector<std::string> findings(const ProgressState& s, double now) {
  return {s.score ? text_of("score %.3f", *s.score) : "", s.loss ? text_of("loss %.4f", *s.loss) : "",
          run_left(s, now)};
}

}  // namespace

std::string duration(double seconds) {
  const auto s = static_cast<long long>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  if (s < 60) return text_of("%lld s", s);
  if (s < 3600) return text_of("%lld:%02lld", s / 60, s % 60);
  return text_of("%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

std::string place_of(const ProgressState& s) {
  const std::string iteration = s.iterations < 0 || s.iteration == 0
                                    ? ""
                                    : text_of("iteration %lld of %lld", static_cast<long long>(s.iteration),
                                              static_cast<long long>(s.iterations));
  return joined({s.title, iteration, s.stage}, ": ");
}

std::vector<std::string> progress_block(const ProgressState& s, int64_t width, double now) {
  const int64_t room = std::max<int64_t>(width - 1, 1);  // a full line would make some terminals go to the next
  const std::string numbers = joined(
      {text_of("%3.0f %%", std::floor(100 * share_of(s))), count_of(s), rate_of(s, now), stage_left(s, now)}, "  ");
  const int64_t bar_width = std::min(kBar, room - count_code_points(numbers) - 4);
  const std::string line = bar_width < 5 ? numbers : bar(share_of(s), bar_width) + "  " + numbers;
  return {cut(place_of(s), room), cut(line, room), cut(joined(findings(s, now), "   "), room)};
}

std::string progress_line(const ProgressState& s, double now) {
  std::vector<std::string> parts = {place_of(s) + " " + count_of(s), rate_of(s, now), stage_left(s, now)};
  for (const std::string& part : findings(s, now)) parts.push_back(part);
  return joined(parts, ", ");
}

std::string stage_summary(const ProgressState& s, double now) {
  return joined({place_of(s) + ": " + std::to_string(s.done) + " in " + duration(now - s.began), rate_of(s, now),
                 s.loss && s.tokens_per_s ? text_of("loss %.4f", *s.loss) : ""},
                ", ");
}

}  // namespace thinker
