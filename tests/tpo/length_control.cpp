#include "tpo/length_control.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tpo/correlation.h"
#include "tpo/statistics.h"

using namespace thinker;

namespace {
bool near(double a, double b, double tolerance = 1e-12) {
  return std::abs(a - b) <= tolerance;
}
}  // namespace

TEST_CASE("length control: z uses the population deviation") {
  const auto z = z_scores(std::vector<double>{1, 2, 3, 4});
  CHECK(near(z[0], -1.5 / std::sqrt(1.25)));
  CHECK(near(z[3], 1.5 / std::sqrt(1.25)));
}

// Trap 33: a z-score divides by zero when all are equal; 0.1 five times has a computed deviation above zero.
TEST_CASE("length control: constant vectors give exact zeros") {
  for (size_t n : {0u, 1u, 3u, 5u, 7u})
    for (double z : z_scores(std::vector<double>(n, 0.1))) CHECK(z == 0.0);
}

// Squares of such differences overflow, or vanish.
TEST_CASE("length control: scores of any size have z-scores, the same in every unit") {
  const double most = 1.7e308, least = 1e-320;
  for (const std::vector<double>& two : {std::vector<double>{0, 1e200}, {-most, most}, {0, least}, {-most, 0}}) {
    const auto z = z_scores(two);
    CHECK(near(z[0], -1));
    CHECK(near(z[1], 1));
  }
  const auto z = z_scores(std::vector{most, most, -most});
  CHECK(near(z[0], std::sqrt(0.5)));
  CHECK(near(z[2], -std::sqrt(2)));
  CHECK(z_scores(std::vector<double>(4, most)) == std::vector<double>(4, 0.0));
  const std::vector<double> plain = {0.1, 0.7, 1.0 / 3};
  const double center = mean(plain), deviation = population_sd(plain);
  for (size_t i = 0; i < plain.size(); ++i) CHECK(z_scores(plain)[i] == (plain[i] - center) / deviation);
}

TEST_CASE("length control: s = z(score) - rho z(length)") {
  const std::vector<double> scores = {0.0, 1.0};
  const std::vector<int64_t> lengths = {10, 30};
  const auto s = length_controlled(scores, lengths, 0.25);
  CHECK(near(s[0], -1 + 0.25));
  CHECK(near(s[1], 1 - 0.25));
  CHECK(length_controlled(scores, lengths, 0.0) == z_scores(scores));
}

TEST_CASE("statistics: mean and deviations") {
  const std::vector<double> values = {1, 2, 3, 4};
  CHECK(mean(values) == 2.5);
  CHECK(near(population_sd(values), std::sqrt(1.25)));
  CHECK(near(sample_sd(values), std::sqrt(5.0 / 3)));
  CHECK(mean({}) == 0);
  CHECK(sample_sd(std::vector<double>{3}) == 0);
}

TEST_CASE("statistics: numbers whose sum is infinite have a mean, an interval and a correlation") {
  const double most = 1.7e308;
  CHECK(mean(std::vector{most, most, most}) == most);
  CHECK(mean(std::vector{most, most, -most, -most}) == 0);
  CHECK(near(mean(std::vector{most, most, -most}) / most, 1.0 / 3));
  for (size_t n : {7u, 1000u}) CHECK(mean(std::vector<double>(n, most)) == most);
  const Interval all = bootstrap_interval(std::vector{most, most, -most, most}, 1);
  CHECK(all.high == most);
  CHECK(all.low >= -most);
  CHECK(near(pearson(std::vector{most, -most, 0.0}, std::vector{1e-320, -1e-320, 0.0}).value(), 1));
}

TEST_CASE("statistics: the bootstrap interval agrees with theory and with itself") {
  std::vector<double> coin;
  for (int i = 0; i < 400; ++i)
    coin.push_back(i % 4 == 0 ? 1 : 0);  // mean 0.25, standard error sqrt(.1875/400) = 0.02165
  const Interval a = bootstrap_interval(coin, 5), b = bootstrap_interval(coin, 5);
  CHECK(a.low == b.low);
  CHECK(a.high == b.high);
  CHECK(near(a.low, 0.25 - 1.96 * 0.02165, 0.005));
  CHECK(near(a.high, 0.25 + 1.96 * 0.02165, 0.005));
  std::vector<double> ramp;
  for (int i = 0; i < 50; ++i) ramp.push_back(i * i);
  CHECK(bootstrap_interval(ramp, 5).low != bootstrap_interval(ramp, 6).low);
  const Interval point = bootstrap_interval(std::vector<double>{0.3}, 1);
  CHECK(point.low == 0.3);
  CHECK(point.high == 0.3);
}

// Trap 32: win rates counted from a table whose answer is known.
TEST_CASE("statistics: win rate") {
  WinCounts counts;
  CHECK(counts.rate() == 0.5);
  const double table[6][2] = {{1, 0}, {0.5, 0.5}, {0, 1}, {2, 1}, {3, 3}, {1, 0}};
  for (const auto& game : table) counts.add(game[0], game[1]);
  CHECK(counts.wins == 3);
  CHECK(counts.ties == 2);
  CHECK(counts.losses == 1);
  CHECK(near(counts.rate(), 4.0 / 6));
}
