#include "tpo/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/check.h"
#include "tensor/rng.h"

namespace thinker {

namespace {

/// The mean of value(0), …, value(n - 1). Where their sum overflows they are divided before they are added; rounding
/// may then carry the result past all of them, so it is cut.
template <class Value>
double mean_of(size_t n, const Value& value) {
  if (n == 0) return 0;
  const auto count = static_cast<double>(n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += value(i);
  if (std::isfinite(sum)) return sum / count;
  double result = 0, low = value(0), high = low;
  for (size_t i = 0; i < n; ++i) {
    result += value(i) / count;
    low = std::min(low, value(i));
    high = std::max(high, value(i));
  }
  return std::clamp(result, low, high);
}

double deviation(std::span<const double> values, double divisor) {
  const double center = mean(values);
  double sum = 0;
  for (double v : values) sum += (v - center) * (v - center);
  return std::sqrt(sum / divisor);
}

/// The quantile of sorted values, interpolated linearly between neighbours.
double quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(below), step = sorted[above] - sorted[below];
  return std::isfinite(step) ? sorted[below] + part * step : std::lerp(sorted[below], sorted[above], part);
}

}  // namespace

double mean(std::span<const double> values) {
  return mean_of(values.size(), [&](size_t i) { return values[i]; });
}

std::vector<double> scaled_to_one(std::span<const double> values) {
  double greatest = 0;
  for (double v : values) greatest = std::max(greatest, std::abs(v));
  int exponent = 0;
  if (std::isfinite(greatest)) std::frexp(greatest, &exponent);
  std::vector<double> scaled;
  for (double v : values) scaled.push_back(std::ldexp(v, -exponent));
  return scaled;
}

double population_sd(std::span<const double> values) {
  return values.empty() ? 0 : deviation(values, static_cast<double>(values.size()));
}

double sample_sd(std::span<const double> values) {
  return values.size() < 2 ? 0 : deviation(values, static_cast<double>(values.size() - 1));
}

Interval bootstrap_interval(int64_t n, const std::function<double(std::span<const int64_t>)>& statistic, uint64_t seed,
                            double level, int64_t resamples) {
  ENSURE(level > 0 && level < 1 && resamples > 0, "a bootstrap of level ", level, " with ", resamples, " resamples");
  if (n == 0) return {0, 0};
  std::vector<double> results(static_cast<size_t>(resamples));
#pragma omp parallel
  {
    std::vector<int64_t> drawn(static_cast<size_t>(n));
#pragma omp for
    for (int64_t r = 0; r < resamples; ++r) {
      Rng rng(seed, Purpose::bootstrap, static_cast<uint32_t>(r));
      rng.fill_below(drawn, n);
      results[r] = statistic(drawn);
    }
  }
  std::sort(results.begin(), results.end());
  return {quantile(results, (1 - level) / 2), quantile(results, (1 + level) / 2)};
}

Interval bootstrap_interval(std::span<const double> values, uint64_t seed, double level, int64_t resamples) {
  const auto mean_of_drawn = [&](std::span<const int64_t> drawn) {
    return mean_of(drawn.size(), [&](size_t i) { return values[drawn[i]]; });
  };
  return bootstrap_interval(static_cast<int64_t>(values.size()), mean_of_drawn, seed, level, resamples);
}

void WinCounts::add(double ours, double theirs) {
  ENSURE(std::isfinite(ours) && std::isfinite(theirs), "a game between scores that are not finite");
  ++(ours > theirs ? wins : ours < theirs ? losses : ties);
}

double WinCounts::rate() const {
  const int64_t games = wins + ties + losses;
  return games == 0 ? 0.5 : (static_cast<double>(wins) + 0.5 * static_cast<double>(ties)) / static_cast<double>(games);
}

}  // namespace thinker
