#include "tpo/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/check.h"
#include "tensor/rng.h"

namespace thinker {

double mean(std::span<const double> values) {
  double sum = 0;
  for (double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

namespace {

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
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

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
  const auto mean_of = [&](std::span<const int64_t> drawn) {
    double sum = 0;
    for (int64_t i : drawn) sum += values[i];
    return sum / static_cast<double>(values.size());
  };
  return bootstrap_interval(static_cast<int64_t>(values.size()), mean_of, seed, level, resamples);
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
