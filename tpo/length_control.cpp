#include "tpo/length_control.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/statistics.h"

namespace thinker {

std::vector<double> z_scores(std::span<const double> values) {
  std::vector<double> z(values.size(), 0.0);
  if (values.empty()) return z;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) return z;
  // z-scores do not depend on the unit, and a power of two changes no bit of them.
  const std::vector<double> x = scaled_to_one(values);
  const double center = mean(x), deviation = population_sd(x);
  ENSURE(std::isfinite(deviation) && deviation > 0, "z-scores of values that are not finite");
  for (size_t i = 0; i < z.size(); ++i) z[i] = (x[i] - center) / deviation;
  return z;
}

std::vector<double> length_controlled(std::span<const double> scores, std::span<const int64_t> lengths, double rho) {
  ENSURE(scores.size() == lengths.size(), scores.size(), " scores but ", lengths.size(), " lengths");
  std::vector<double> s = z_scores(scores);
  const std::vector<double> z_length = z_scores(std::vector<double>(lengths.begin(), lengths.end()));
  for (size_t i = 0; i < s.size(); ++i) s[i] -= rho * z_length[i];
  return s;
}

}  // namespace thinker
