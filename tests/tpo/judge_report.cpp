// What judgments tell about the judge, from tables counted by hand.
#include "tpo/judge_report.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/check.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

JudgmentRecord score(const char* id, int64_t sample, std::optional<double> value, const std::string& response) {
  return {id, sample, {{"prompt", Json::array()}, {"response", response}}, {value, value ? "" : "failed", ""}};
}

using Order = GameRecord::Order;

/// `verdict` is of the view: 1 for the response that was shown first.
GameRecord game(int64_t a, int64_t b, Order order, std::optional<int> verdict) {
  const std::string ra(static_cast<size_t>(a + 1), 'x'), rb(static_cast<size_t>(b + 1), 'x');  // longer by the index
  const Json shown = order == Order::ab ? Json{ra, rb} : Json{rb, ra};
  return {"p",
          a,
          b,
          order,
          {{"responses", shown}},
          {verdict ? std::optional(static_cast<Verdict>(*verdict)) : std::nullopt, "", ""}};
}

bool near(const Json& value, double expected) {
  return value.is_number() && std::abs(value.get<double>() - expected) <= 1e-12;
}

}  // namespace

TEST_CASE("judge report: a pointwise judge's failures, ties and taste for length") {
  Judgments j;
  j.scores = {score("p", 0, 1.0, "aaaa"), score("p", 1, 0.0, "a"),   score("p", 2, 0.0, "aa"),
              score("q", 0, 5.0, "a"),    score("q", 1, 4.0, "aaa"), score("r", 0, std::nullopt, "b")};
  const Json r = judge_report(j);
  CHECK(r["kind"] == "scores");
  CHECK(r["prompts"] == 3);
  CHECK(r["samples"] == 6);
  CHECK(r["judged"] == 6);
  CHECK(r["errors"] == 1);
  CHECK(near(r["failure_rate"], 1.0 / 6));
  CHECK(r["pairs"] == 4);
  CHECK(near(r["tie_rate"], 0.25));
  CHECK(r["length"]["decided"] == 3);
  CHECK(near(r["length"]["longer_wins"], 2.0 / 3));
  CHECK(r["length"]["prompts"] == 2);
  CHECK(near(r["length"]["spearman"],
             (std::sqrt(3.0) / 2 - 1) / 2));  // 0.866 in p, -1 in q; "q is scored higher" is no matter
  CHECK(!r.contains("position"));
}

TEST_CASE("judge report: a pairwise judge that takes what it reads first") {
  Judgments j;
  for (const auto& [a, b] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 2}, {1, 2}})
    for (Order order : {Order::ab, Order::ba}) j.games.push_back(game(a, b, order, 1));
  const Json first = judge_report(j);
  CHECK(first["kind"] == "games");
  CHECK(first["judged"] == 6);
  CHECK(first["pairs"] == 3);
  CHECK(near(first["tie_rate"], 1.0));  // its two orders contradict each other everywhere
  CHECK(near(first["position"]["first_rate"], 1.0));
  CHECK(near(first["position"]["consistency"], 0.0));
  CHECK(first["length"]["longer_wins"].is_null());
  CHECK(first["length"]["spearman"].is_null());

  // The longer one always, but for one failure.
  j.games.clear();
  for (const auto& [a, b] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 2}, {1, 2}}) {
    j.games.push_back(game(a, b, Order::ab, -1));
    j.games.push_back(game(a, b, Order::ba, a == 0 && b == 2 ? std::nullopt : std::optional(1)));
  }
  const Json longer = judge_report(j);
  CHECK(longer["errors"] == 1);
  CHECK(near(longer["tie_rate"], 0.0));
  CHECK(near(longer["length"]["longer_wins"], 1.0));
  CHECK(near(longer["length"]["spearman"], 1.0));
  CHECK(longer["position"]["pairs"] == 2);
  CHECK(near(longer["position"]["consistency"], 1.0));
}

TEST_CASE("judge agreement: by pair, with ties, and without; scores against games; other samples are refused") {
  Judgments a, b, games;
  a.scores = {score("p", 0, 1.0, "x"), score("p", 1, 2.0, "xx"), score("p", 2, 3.0, "xxx"),
              score("q", 0, 0.0, "y"), score("q", 1, 0.0, "yy"), score("q", 2, 1.0, "yyy")};
  b.scores = {score("p", 0, 10.0, "x"), score("p", 1, 30.0, "xx"), score("p", 2, 20.0, "xxx"), score("q", 0, 1.0, "y"),
              score("q", 1, 1.0, "yy")};
  const Json r = judge_agreement(a, b);
  CHECK(r["samples"] == 5);
  CHECK(r["pairs"] == 4);
  CHECK(r["only_first"] == 2);
  CHECK(r["only_second"] == 0);
  CHECK(near(r["agreement"], 0.75));
  CHECK(r["decided"] == 3);
  CHECK(near(r["agreement_decided"], 2.0 / 3));
  // Labels (-1, -1, -1, 0) and (-1, -1, 1, 0): chance is 3/4 · 2/4 + 1/4 · 1/4 = 7/16.
  CHECK(near(r["kappa"], (0.75 - 7.0 / 16) / (1 - 7.0 / 16)));
  CHECK(near(r["kendall_tau"], 1.0 / 3));
  CHECK(near(r["spearman"], 0.5));

  // Shown as b, a: 1 means that b, the higher sample, is better.
  for (const auto& [low, high] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 2}, {1, 2}})
    games.games.push_back(game(low, high, Order::ba, 1));
  const Json mixed = judge_agreement(a, games);
  CHECK(mixed["pairs"] == 3);
  CHECK(near(mixed["agreement"], 1.0));
  CHECK(mixed["kappa"].is_null());  // all three the same way: nothing to tell from chance
  CHECK(near(mixed["kendall_tau"], 1.0));
  // The same verdicts written with the pair's names exchanged.
  Judgments turned = games;
  for (GameRecord& g : turned.games) {
    std::swap(g.a, g.b);
    g.order = Order::ab;
  }
  CHECK(judge_agreement(a, turned).dump() == mixed.dump());

  const std::string text = describe_report({"A", "B"}, {judge_report(a), judge_report(games)}, mixed);
  CHECK(holds(text, "won by the response shown first"));
  CHECK(holds(text, "same opinion in 1.000"));

  b.scores[0].view["response"] = "another";
  CHECK(holds(error_of([&] { judge_agreement(a, b); }), "is \"x\" in one file and \"another\" in the other"));
  b.scores = {score("elsewhere", 0, 1.0, "x")};
  CHECK(holds(error_of([&] { judge_agreement(a, b); }), "no two samples"));
}
