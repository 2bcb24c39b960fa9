// Bradley-Terry scores against a table that scipy computed from the formula
// (tests/goldens/make_bradley_terry_goldens.py).
#include "tpo/bradley_terry.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/jsonl.h"

using namespace thinker;

TEST_CASE("bradley-terry: the scores of the known table") {
  const std::string path = "tests/goldens/bradley_terry.json";
  const Json table = parse_json(read_text_file(path), path);
  CHECK(table["cases"].size() == 10);
  for (const Json& c : table["cases"]) {
    INFO(c["name"].get<std::string>());
    const auto k = static_cast<int64_t>(c["wins"].size());
    std::vector<double> wins;
    for (const Json& row : c["wins"])
      for (const Json& w : row) wins.push_back(w);
    const std::vector<double> e = bradley_terry(wins, k, c["lambda"]);
    double sum = 0;
    for (int64_t m = 0; m < k; ++m) {
      const double expected = c["scores"][m];
      CHECK(std::fabs(e[m] - expected) <= 2e-9);
      sum += e[m];
    }
    CHECK(std::fabs(sum) <= 1e-8);
  }
}

// Trap 33: the maximum-likelihood score of an undefeated sample is infinite.
TEST_CASE("bradley-terry: undefeated samples have finite scores, equal records equal ones, and no games all 0") {
  const std::vector<double> never_lost{0, 2, 2, 0, 0, 2, 0, 0, 0};
  const auto e = bradley_terry(never_lost, 3);
  for (double x : e) CHECK(std::fabs(x) < 20);
  CHECK(e[0] > e[1]);
  CHECK(e[1] > e[2]);
  CHECK(bradley_terry(std::vector<double>(16, 0.0), 4) == std::vector<double>(4, 0.0));
  CHECK(bradley_terry({}, 0).empty());
  // 1 and 2 have the same record, as have 0 and 3 of the circle: exactly equal scores.
  const std::vector<double> twins{0, 1, 1, 0, 1, 0, 1, 2, 1, 1, 0, 2, 1, 0, 0, 0};
  const auto t = bradley_terry(twins, 4);
  CHECK(t[1] == t[2]);
  CHECK(t[1] > t[0]);
}

TEST_CASE("bradley-terry: large and lopsided tables converge quickly") {
  constexpr int64_t k = 64;
  std::vector<double> wins(k * k, 0.0);
  for (int64_t m = 0; m < k; ++m)
    for (int64_t n = m + 1; n < k; ++n) wins[m * k + n] = 1e6;
  const auto start = std::chrono::steady_clock::now();
  const auto e = bradley_terry(wins, k);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  for (int64_t m = 1; m < k; ++m) CHECK(e[m - 1] > e[m]);
  CHECK(std::isfinite(e[0]));
}

TEST_CASE("bradley-terry: what is no table of wins is refused") {
  CHECK_THROWS_AS(bradley_terry(std::vector<double>(3), 2), Error);
  CHECK_THROWS_AS(bradley_terry(std::vector<double>(4), 2, 0.0), Error);
  CHECK_THROWS_AS(bradley_terry(std::vector<double>{0, -1, 0, 0}, 2), Error);
  CHECK_THROWS_AS(bradley_terry(std::vector<double>{0, NAN, 0, 0}, 2), Error);
}
