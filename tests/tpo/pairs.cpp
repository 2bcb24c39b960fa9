#include "tpo/pairs.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/check.h"
#include "tensor/rng.h"

using namespace thinker;

namespace {

using Candidates = std::vector<Candidate>;

Candidate good(int64_t sample, double score, int64_t length = 10) {
  return {sample, "text " + std::to_string(sample), true, false, score, length};
}
Candidate unparsed(int64_t sample) {
  return {sample, "bad " + std::to_string(sample), false, false, std::nullopt, 0};
}
Candidate truncated(int64_t sample) {
  return {sample, "cut " + std::to_string(sample), false, true, std::nullopt, 0};
}

PairSet build(const std::vector<Candidates>& prompts, PairOptions options = {}) {
  return build_pairs(prompts, options);
}

void adds_up(const PairCounts& c) {
  CHECK(c.pairs + c.too_few_valid + c.equal_scores + c.equal_texts + c.not_better == c.prompts);
}

}  // namespace

TEST_CASE("pairs: best against worst, the lower sample index among equals") {
  const PairSet set = build({{good(0, 1), good(1, 3), good(2, 0), good(3, 3), good(4, 0)}});
  REQUIRE(set.pairs.size() == 1);
  CHECK(set.pairs[0].chosen == 1);
  CHECK(set.pairs[0].rejected == 2);
  CHECK(set.pairs[0].s_chosen > *set.pairs[0].s_rejected);
  // The index counts, not the place in the file.
  const PairSet shuffled = build({{good(4, 0), good(3, 3), good(2, 0), good(1, 3)}});
  CHECK(shuffled.pairs[0].chosen == 3);
  CHECK(shuffled.pairs[0].rejected == 2);
}

TEST_CASE("pairs: length control decides between equal scores, and never against the judge") {
  const Candidates prompt = {good(0, 1, 100), good(1, 1, 20), good(2, 0, 60), good(3, 0, 90)};
  CHECK(build({prompt}).pairs[0].chosen == 0);
  const PairSet controlled = build({prompt}, {.rho = 0.3});
  CHECK(controlled.pairs[0].chosen == 1);
  CHECK(controlled.pairs[0].rejected == 3);
  // A long answer that is barely better: with a large rho the short one would win, so there is no pair.
  const PairSet against = build({{good(0, 1.0, 1000), good(1, 0.0, 10)}}, {.rho = 1.5});
  CHECK(against.pairs.empty());
  CHECK(against.counts.not_better == 1);
}

// Trap 33: every degenerate case is no pair, and counted.
TEST_CASE("pairs: degenerate prompts give none") {
  Candidate twin = good(1, 0);
  twin.text = "text 0";
  Candidate unjudged = good(1, 0);
  unjudged.score.reset();
  const PairSet set = build({{},
                             {good(0, 1)},
                             {good(0, 1), unparsed(1)},
                             {good(0, 1), truncated(1)},
                             {good(0, 1), unjudged},
                             {good(0, 0.1), good(1, 0.1), good(2, 0.1)},
                             {good(0, 1), twin},
                             {good(0, 1), good(1, 0)}});
  CHECK(set.counts.too_few_valid == 5);
  CHECK(set.counts.equal_scores == 1);
  CHECK(set.counts.equal_texts == 1);
  CHECK(set.counts.pairs == 1);
  CHECK(set.pairs[0].prompt == 7);
  CHECK(set.counts.unjudged == 1);
  CHECK(set.counts.unparsed == 2);
  CHECK(set.counts.truncated == 1);
  adds_up(set.counts);
  // Equal scores with unequal lengths stay without a pair under length control: it would train on length alone.
  CHECK(build({{good(0, 1, 10), good(1, 1, 99)}}, {.rho = 0.5}).counts.equal_scores == 1);
  CHECK_THROWS_AS(build({{good(0, std::nan("")), good(1, 1)}}), Error);
}

// Trap 21: a truncated sample is never valid, whatever its score says.
TEST_CASE("pairs: a truncated sample is not valid even when it parsed and was judged") {
  Candidate cut = good(2, 9);
  cut.truncated = true;
  const PairSet set = build({{good(0, 1), good(1, 0), cut}});
  CHECK(set.pairs[0].chosen == 0);
}

TEST_CASE("pairs: failed outputs on the rejected side, at most a tenth of the pairs") {
  std::vector<Candidates> prompts;
  for (int i = 0; i < 18; ++i) prompts.push_back({good(0, 1), good(1, 0), unparsed(2)});
  for (int i = 0; i < 5; ++i) prompts.push_back({good(0, 1), unparsed(2), unparsed(1)});
  const PairSet dropped = build(prompts);
  CHECK(dropped.counts.failure_pairs == 0);
  CHECK(dropped.counts.pairs == 18);

  const PairSet set = build(prompts, {.parse_failures = Failures::reject});
  CHECK(set.counts.failure_pairs == 2);  // 2 of 20; a third would make 3 of 21
  CHECK(set.counts.pairs == 20);
  CHECK(set.pairs.size() == 20);
  CHECK(set.counts.too_few_valid == 3);
  CHECK(set.pairs[18].prompt == 18);
  CHECK(set.pairs[18].rejected == 2);  // sample 1 is the first that failed
  CHECK_FALSE(set.pairs[18].s_rejected);
  adds_up(set.counts);

  // Where every prompt has a pair of its own, failures replace the rejected side of the first tenth.
  const PairSet replaced = build({prompts.begin(), prompts.begin() + 18}, {.parse_failures = Failures::reject});
  CHECK(replaced.counts.pairs == 18);
  CHECK(replaced.counts.failure_pairs == 1);
  CHECK(replaced.pairs[0].rejected == 2);
  CHECK(replaced.pairs[1].rejected == 1);

  CHECK(build({{good(0, 1), unparsed(1)}}, {.parse_failures = Failures::reject})
            .pairs.empty());  // 1 of 1 is more than a tenth
}

TEST_CASE("pairs: truncated outputs are rejected only when asked for") {
  std::vector<Candidates> prompts(10, {good(0, 1), good(1, 0)});
  prompts.push_back({good(0, 1), truncated(1)});
  CHECK(build(prompts, {.parse_failures = Failures::reject}).counts.failure_pairs == 0);
  CHECK(build(prompts, {.truncated = Failures::reject}).counts.failure_pairs == 0);
  const PairSet both = build(prompts, {.parse_failures = Failures::reject, .truncated = Failures::reject});
  CHECK(both.counts.failure_pairs == 1);
  CHECK(both.counts.pairs == 11);
}

// Trap 34: lengths grow unless held; rho "auto" is the smallest that holds them.
TEST_CASE("pairs: rho is walked up until chosen responses are not longer") {
  std::vector<Candidates> prompts;
  Rng rng(3, Purpose::generate_data);
  for (int p = 0; p < 200; ++p) {
    Candidates samples;
    for (int i = 0; i < 8; ++i) {
      const double quality = rng.normal();
      samples.push_back(good(i, quality, static_cast<int64_t>(100 + 3 * quality + 40 * rng.uniform())));
    }
    prompts.push_back(samples);
  }
  const std::vector<RhoTrial> trials = try_rhos(prompts, {});
  REQUIRE(trials.size() == 11);
  const RhoTrial found = auto_rho(trials);
  REQUIRE(found.balanced());
  CHECK(found.rho > 0);
  const PairSet at = build(prompts, {.rho = found.rho}), before = build(prompts, {.rho = found.rho - 0.05});
  CHECK(at.mean_chosen_length <= at.mean_rejected_length);
  CHECK(before.mean_chosen_length > before.mean_rejected_length);
  CHECK(found.pairs == at.counts.pairs);
  CHECK(found.chosen_length == at.mean_chosen_length);
  CHECK(found.rejected_length == at.mean_rejected_length);
  CHECK(trials.front().chosen_length == build(prompts, {}).mean_chosen_length);

  const auto chosen = [](const std::vector<Candidates>& few) { return RhoTrial(auto_rho(try_rhos(few, {}))); };
  CHECK(chosen({{good(0, 1, 5), good(1, 0, 9)}}).rho == 0);
  const RhoTrial never = chosen({{good(0, 1, 9), good(1, 0, 5)}});
  CHECK(never.rho == 0.5);
  CHECK_FALSE(never.balanced());
}

TEST_CASE("pairs: on random input every pair is a pair") {
  Rng rng(4, Purpose::generate_data);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<Candidates> prompts(rng.below(30));
    for (Candidates& samples : prompts)
      for (int64_t i = rng.below(6); i > 0; --i) {
        Candidate c = good(i, static_cast<double>(rng.below(3)), rng.below(50));
        c.text = "t" + std::to_string(rng.below(3));
        c.parsed = rng.below(4) > 0;
        c.truncated = rng.below(5) == 0;
        if (!c.parsed || rng.below(6) == 0) c.score.reset();
        samples.push_back(c);
      }
    const auto failures = [&] { return rng.below(2) ? Failures::reject : Failures::drop; };
    const PairOptions options{static_cast<double>(rng.below(11)) / 20, failures(), failures()};
    const PairSet set = build(prompts, options);
    REQUIRE(set.counts.failure_pairs * 10 <= set.counts.pairs);
    REQUIRE(static_cast<int64_t>(set.pairs.size()) == set.counts.pairs);
    adds_up(set.counts);
    for (const Pair& pair : set.pairs) {
      const Candidate &chosen = prompts[pair.prompt][pair.chosen], &rejected = prompts[pair.prompt][pair.rejected];
      REQUIRE((chosen.parsed && !chosen.truncated && chosen.score.has_value()));
      REQUIRE(chosen.text != rejected.text);
      if (pair.s_rejected) REQUIRE(*chosen.score > *rejected.score);
      if (!pair.s_rejected) REQUIRE((!rejected.parsed || rejected.truncated));
    }
  }
}
