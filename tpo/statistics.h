// The few statistics of the tables: means over prompts, with a bootstrap interval that makes no assumption on the
// scores.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace thinker {

/// Mean; 0 for no values. Finite values have a finite one, also where their sum is none.
double mean(std::span<const double> values);

/// The values times the power of two that brings the greatest magnitude into [0.5, 1): squares of their differences
/// neither overflow nor all vanish. Exact, but for values that are nothing beside the greatest.
std::vector<double> scaled_to_one(std::span<const double> values);

/// Standard deviation with divisor n; 0 for no values.
double population_sd(std::span<const double> values);

/// Standard deviation with divisor n - 1; 0 for fewer than two values.
double sample_sd(std::span<const double> values);

struct Interval {
  double low, high;
};

/// The percentile bootstrap interval of the mean (Efron 1979; Efron and Tibshirani, "An Introduction to the Bootstrap",
/// 1993, chapter 13): resamples the values with replacement, 2,000 times by default, and
/// takes the (1 - level)/2 quantiles of the means at both ends. One value per *prompt* (average a prompt's samples
/// first): the samples of one prompt are not independent, and counting each would make the interval too narrow.
/// Deterministic for a seed. No values: {0, 0}. One value: a point.
Interval bootstrap_interval(std::span<const double> values, uint64_t seed, double level = 0.95,
                            int64_t resamples = 2000);

/// The same of any statistic of n values: it gets the indices of a resample, n of them, repeats included. It is called
/// from several threads at once, and throws nothing.
Interval bootstrap_interval(int64_t n, const std::function<double(std::span<const int64_t>)>& statistic, uint64_t seed,
                            double level = 0.95, int64_t resamples = 2000);

/// Games won, tied and lost, by who has the higher score.
struct WinCounts {
  int64_t wins = 0, ties = 0, losses = 0;

  void add(double ours, double theirs);
  /// (wins + ties / 2) / games; one half for no games.
  double rate() const;
};

}  // namespace thinker
