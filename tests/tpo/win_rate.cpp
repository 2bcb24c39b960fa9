// Win rates and measures of agreement against tables that scikit-learn and scipy computed
// (tests/goldens/make_evaluation_goldens.py), and against tables small enough for a person.
#include "tpo/win_rate.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/correlation.h"
#include "tpo/jsonl.h"
#include "tpo/stages/compare.h"

using namespace thinker;

namespace {

Json table() {
  const std::string path = "tests/goldens/evaluation.json";
  return parse_json(read_text_file(path), path);
}

bool near(double a, double b, double tolerance) {
  return std::fabs(a - b) <= tolerance;
}

std::vector<double> numbers(const Json& list) {
  return list.get<std::vector<double>>();
}

EvalRecord output(const char* id, std::optional<std::string> response, std::optional<double> score) {
  EvalRecord r;
  r.category = "c";
  r.sample.id = id;
  r.sample.split.response = response;
  r.sample.split.parse = response ? Parse::ok : Parse::no_marker;
  r.judged.score = score;
  return r;
}

}  // namespace

TEST_CASE("length control: theta, phi and the win rate at equal lengths of the known table") {
  const Json cases = table()["lengths"];
  REQUIRE(cases.size() == 10);
  for (const Json& c : cases) {
    CAPTURE(c.dump());
    const LengthFit fit = fit_length(numbers(c["wins"]), numbers(c["differences"]));
    CHECK(near(fit.theta, c["theta"], 1e-6));
    CHECK(near(fit.phi, c["phi"], 1e-6));
    CHECK(near(fit.win_rate(), c["win_rate"], 1e-7));
  }
  // A judge that only likes length: long answers win more than half, and at equal lengths they do not.
  const Json longer = cases[0];
  CHECK(mean(numbers(longer["wins"])) > 0.5);
  CHECK(longer["phi"].get<double>() > 1);
  CHECK(longer["win_rate"].get<double>() < 0.5);
}

TEST_CASE("length control: swapping the models mirrors the win rate; equal outputs tie; the unit of length is free") {
  const Json cases = table()["lengths"];
  for (const Json& c : cases) {
    std::vector<double> wins = numbers(c["wins"]), lengths = numbers(c["differences"]);
    const LengthFit fit = fit_length(wins, lengths);
    for (double& w : wins) w = 1 - w;
    for (double& d : lengths) d *= -3;
    const LengthFit mirrored = fit_length(wins, lengths);
    CHECK(near(mirrored.win_rate(), 1 - fit.win_rate(), 1e-9));
    CHECK(near(mirrored.phi, fit.phi, 1e-9));
  }
  const LengthFit same = fit_length(std::vector<double>(5, 0.5), std::vector<double>(5, 0.0));
  CHECK(same.theta == 0);
  CHECK(same.win_rate() == 0.5);
  CHECK(fit_length({}, {}).win_rate() == 0.5);
}

TEST_CASE("length control: extreme tables stay finite") {
  for (double win : {0.0, 1.0}) {
    for (double length : {0.0, 1e-300, 1e9}) {
      std::vector<double> lengths(500, length);
      lengths[0] = -length;
      const LengthFit fit = fit_length(std::vector<double>(500, win), lengths);
      CHECK(std::isfinite(fit.theta));
      CHECK(std::isfinite(fit.phi));
      CHECK(std::fabs(fit.win_rate() - win) <= 0.01);
    }
  }
}

// Trap 32: an aggregator that never counted a win. Every number here was counted by hand.
TEST_CASE("win rate: wins, ties, losses, categories and what the judge failed on, from a table counted by hand") {
  const std::vector<Contest> contests = {{"a", 1.0, 5},  {"a", 0.5, 0},  {"a", 0.0, -5}, {"b", 1.0, 9},
                                         {"b", 0.75, 2}, {"b", 0.25, 1}, {"b", 1.0, 0},  {"b", std::nullopt, 3}};
  const WinSummary s = summarise_wins(contests, 1);
  CHECK(s.games == 7);
  CHECK(s.unjudged == 1);
  CHECK(s.counts.wins == 4);
  CHECK(s.counts.ties == 1);
  CHECK(s.counts.losses == 2);
  CHECK(near(s.rate, 4.5 / 7, 1e-15));
  CHECK(s.interval.low <= s.rate);
  CHECK(s.interval.high >= s.rate);
  CHECK(s.interval.low < s.interval.high);
  REQUIRE(s.categories.size() == 2);
  CHECK(s.categories.at("a").prompts == 3);
  CHECK(s.categories.at("a").rate == 0.5);
  CHECK(s.categories.at("b").prompts == 4);
  CHECK(s.categories.at("b").rate == 0.75);
  CHECK(s.categories.at("b").interval.high <= 1);
  CHECK(s.length_interval.low <= s.length.win_rate());
  CHECK(s.length_interval.high >= s.length.win_rate());
  const WinSummary again = summarise_wins(contests, 1);
  CHECK(win_summary_to_json(again).dump() == win_summary_to_json(s).dump());
  const WinSummary none = summarise_wins({}, 1);
  CHECK(none.rate == 0.5);
  CHECK_NOTHROW(dump_json(win_summary_to_json(none)));
}

TEST_CASE("comparison: the higher score wins; failures lose to any response, whatever its score, and tie each other") {
  const std::vector<EvalRecord> ours = {output("1", "long answer", 2.0), output("2", "b", -1.0),
                                        output("3", "c", 0.5),           output("4", std::nullopt, 0.0),
                                        output("5", "e", -9.0),          output("6", std::nullopt, 0.0),
                                        output("7", "g", std::nullopt),  output("8", "h", 1.0)};
  const std::vector<EvalRecord> theirs = {output("1", "short", 1.0),      output("2", "b", 0.0),
                                          output("3", " c\n", 0.5),       output("4", "d", -7.0),
                                          output("5", std::nullopt, 0.0), output("6", std::nullopt, 0.0),
                                          output("7", "g", 1.0),          output("8", "h", std::nullopt)};
  const auto contests = contests_of(ours, theirs, WinBy::higher_score);
  std::vector<std::optional<double>> wins;
  std::vector<double> lengths;
  for (const Contest& c : contests) {
    wins.push_back(c.win);
    lengths.push_back(c.length_difference);
  }
  CHECK(wins == std::vector<std::optional<double>>{1.0, 0.0, 0.5, 0.0, 1.0, 0.5, std::nullopt, std::nullopt});
  CHECK(lengths == std::vector<double>{6, 0, 0, 0, 0, 0, 0, 0});
  const auto games = contests_of({output("1", "x", 0.75)}, {output("1", "y", std::nullopt)}, WinBy::share_of_games);
  CHECK(games[0].win == 0.75);
  // Trap 39: keys that do not match are an error, not a NaN.
  CHECK_THROWS_AS(contests_of(ours, {}, WinBy::higher_score), Error);
  CHECK_THROWS_AS(contests_of({output("1", "x", 1.0)}, {output("2", "x", 1.0)}, WinBy::higher_score), Error);
}

TEST_CASE("correlation: the values of the known table, and nothing where none is defined") {
  const Json cases = table()["agreements"];
  REQUIRE(cases.size() == 3);
  for (const Json& c : cases) {
    const std::vector<double> x = numbers(c["x"]), y = numbers(c["y"]);
    CHECK(near(pearson(x, y).value(), c["pearson"], 1e-12));
    CHECK(near(spearman(x, y).value(), c["spearman"], 1e-12));
    CHECK(near(kendall_tau(x, y).value(), c["kendall_tau"], 1e-12));
    CHECK(near(cohen_kappa(c["labels"].get<std::vector<int>>(), c["others"].get<std::vector<int>>()).value(),
               c["kappa"], 1e-12));
  }
  CHECK(ranks(std::vector<double>{5, 1, 5, 0}) == std::vector<double>{3.5, 2, 3.5, 1});
  const std::vector<double> flat(4, 0.1), rising = {1, 2, 3, 4};
  for (const auto& c : {pearson(flat, rising), spearman(rising, flat), kendall_tau(flat, flat), pearson({}, {}),
                        kendall_tau(std::vector<double>{1}, std::vector<double>{2})})
    CHECK(!c);
  CHECK(!cohen_kappa({}, {}));
  CHECK(!cohen_kappa(std::vector<int>{1, 1}, std::vector<int>{1, 1}));
  CHECK(cohen_kappa(std::vector<int>{1, 0}, std::vector<int>{1, 0}).value() == 1);
}

TEST_CASE("bootstrap: the interval of any statistic; that of the mean is the mean's own") {
  const std::vector<double> values = {0, 1, 1, 0, 3, 2, 2, 8};
  const auto largest = [&](std::span<const int64_t> drawn) {
    double most = 0;
    for (int64_t i : drawn) most = std::max(most, values[i]);
    return most;
  };
  const Interval i = bootstrap_interval(8, largest, 1);
  CHECK(i.low == 2);
  CHECK(i.high == 8);
  CHECK(bootstrap_interval(0, largest, 1).high == 0);
}
