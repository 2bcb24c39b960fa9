#include "tpo/correlation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tensor/check.h"
#include "tpo/statistics.h"

namespace thinker {

namespace {

bool is_constant(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; });
}

int sign(double x) {
  return x > 0 ? 1 : x < 0 ? -1 : 0;
}

}  // namespace

std::optional<double> pearson(std::span<const double> x_values, std::span<const double> y_values) {
  ENSURE(x_values.size() == y_values.size(), "a correlation of ", x_values.size(), " numbers with ", y_values.size());
  if (x_values.size() < 2 || is_constant(x_values) || is_constant(y_values)) return std::nullopt;
  const std::vector<double> x = scaled_to_one(x_values), y = scaled_to_one(y_values);
  const double x_mean = mean(x), y_mean = mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - x_mean) * (x[i] - x_mean);
    yy += (y[i] - y_mean) * (y[i] - y_mean);
    xy += (x[i] - x_mean) * (y[i] - y_mean);
  }
  return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
}

std::vector<double> ranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> rank(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double shared = static_cast<double>(begin + 1 + end) / 2;
    for (; begin < end; ++begin) rank[order[begin]] = shared;
  }
  return rank;
}

std::optional<double> spearman(std::span<const double> x, std::span<const double> y) {
  return pearson(ranks(x), ranks(y));
}

std::optional<double> kendall_tau(std::span<const double> x, std::span<const double> y) {
  ENSURE(x.size() == y.size(), "a correlation of ", x.size(), " numbers with ", y.size());
  double concordance = 0, x_decided = 0, y_decided = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = i + 1; j < x.size(); ++j) {
      const int a = sign(x[i] - x[j]), b = sign(y[i] - y[j]);
      concordance += a * b;
      x_decided += a != 0;
      y_decided += b != 0;
    }
  }
  if (x_decided == 0 || y_decided == 0) return std::nullopt;
  return concordance / std::sqrt(x_decided * y_decided);
}

std::optional<double> cohen_kappa(std::span<const int> x, std::span<const int> y) {
  ENSURE(x.size() == y.size(), "a comparison of ", x.size(), " labels with ", y.size());
  const auto n = static_cast<double>(x.size());
  std::map<int, std::pair<double, double>> counts;
  double agreed = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    agreed += x[i] == y[i];
    counts[x[i]].first += 1;
    counts[y[i]].second += 1;
  }
  double chance = 0;  // times n²
  for (const auto& [label, count] : counts) chance += count.first * count.second;
  if (x.empty() || chance == n * n) return std::nullopt;
  return (agreed * n - chance) / (n * n - chance);
}

}  // namespace thinker
