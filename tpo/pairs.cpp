#include "tpo/pairs.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/length_control.h"

namespace thinker {

namespace {

bool is_valid(const Candidate& c) {
  return c.parsed && !c.truncated && c.score.has_value();
}

/// The argmax and argmin of s over a prompt's valid samples; nothing when none is valid.
struct Extremes {
  int64_t best, worst;  // indices into the candidates
  double s_best, s_worst;
  size_t valid;
  bool equal_scores;
};

std::optional<Extremes> extremes_of(const std::vector<Candidate>& candidates, double rho) {
  std::vector<int64_t> index;
  std::vector<double> scores;
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!is_valid(candidates[i])) continue;
    ENSURE(std::isfinite(*candidates[i].score), "a score that is not finite");
    index.push_back(static_cast<int64_t>(i));
    scores.push_back(*candidates[i].score);
    lengths.push_back(candidates[i].response_length);
  }
  if (index.empty()) return std::nullopt;
  const std::vector<double> s = length_controlled(scores, lengths, rho);
  const auto sample = [&](size_t i) { return candidates[index[i]].sample; };
  size_t best = 0, worst = 0;
  for (size_t i = 1; i < s.size(); ++i) {
    if (s[i] > s[best] || (s[i] == s[best] && sample(i) < sample(best))) best = i;
    if (s[i] < s[worst] || (s[i] == s[worst] && sample(i) < sample(worst))) worst = i;
  }
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  return Extremes{index[best], index[worst], s[best], s[worst], index.size(), *low == *high};
}

void count_samples(const std::vector<Candidate>& candidates, PairCounts* counts) {
  counts->samples += static_cast<int64_t>(candidates.size());
  for (const Candidate& c : candidates) {
    if (c.truncated) ++counts->truncated;
    if (!c.parsed) ++counts->unparsed;
    if (c.parsed && !c.truncated && !c.score) ++counts->unjudged;
  }
}

/// A counter of prompts without a pair.
using Reason = int64_t PairCounts::*;

/// Why the extremes make no pair; nothing when they make one.
std::optional<Reason> objection(const std::vector<Candidate>& candidates, const std::optional<Extremes>& e) {
  if (!e || e->valid < 2) return &PairCounts::too_few_valid;
  if (e->equal_scores) return &PairCounts::equal_scores;
  const Candidate &chosen = candidates[e->best], &rejected = candidates[e->worst];
  if (chosen.text == rejected.text) return &PairCounts::equal_texts;
  if (!(*chosen.score > *rejected.score)) return &PairCounts::not_better;
  return std::nullopt;
}

/// The first sample that may be rejected for its format, beside this chosen text.
std::optional<int64_t> failed_sample(const std::vector<Candidate>& candidates, const PairOptions& options,
                                     const std::string& chosen) {
  if (options.parse_failures == Failures::drop) return std::nullopt;
  std::optional<int64_t> first;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    const bool failed = c.truncated ? options.truncated == Failures::reject : !c.parsed;
    if (failed && c.text != chosen && (!first || c.sample < candidates[*first].sample)) first = static_cast<int64_t>(i);
  }
  return first;
}

/// What one prompt can give: the pair of its extremes, or the reason for none; and one against a failed sample.
struct Possible {
  std::optional<Pair> ordinary, failure;
  std::optional<Reason> reason;
};

Possible possible_of(const std::vector<Candidate>& candidates, int64_t prompt, const PairOptions& options) {
  Possible possible;
  const auto e = extremes_of(candidates, options.rho);
  possible.reason = objection(candidates, e);
  if (!possible.reason) possible.ordinary = Pair{prompt, e->best, e->worst, e->s_best, e->s_worst};
  if (!e) return possible;
  if (const auto failed = failed_sample(candidates, options, candidates[e->best].text))
    possible.failure = Pair{prompt, e->best, *failed, e->s_best, std::nullopt};
  return possible;
}

/// Each prompt's pair, if any, with those against failed samples among them, in the order that build_pairs tells.
std::vector<std::optional<Pair>> choose(std::span<const Possible> prompts) {
  std::vector<std::optional<Pair>> chosen;
  int64_t pairs = 0, failures = 0;
  for (const Possible& p : prompts) {
    chosen.push_back(p.ordinary);
    pairs += p.ordinary ? 1 : 0;
  }
  for (const bool replaces : {false, true})
    for (size_t i = 0; i < prompts.size(); ++i) {
      const int64_t pairs_then = pairs + (replaces ? 0 : 1);
      if (!prompts[i].failure || prompts[i].ordinary.has_value() != replaces || 10 * (failures + 1) > pairs_then)
        continue;
      chosen[i] = prompts[i].failure;
      pairs = pairs_then;
      ++failures;
    }
  return chosen;
}

void measure_lengths(std::span<const std::vector<Candidate>> prompts, PairSet* set) {
  double chosen = 0, rejected = 0, count = 0;
  for (const Pair& pair : set->pairs) {
    if (!pair.s_rejected) continue;
    chosen += static_cast<double>(prompts[pair.prompt][pair.chosen].response_length);
    rejected += static_cast<double>(prompts[pair.prompt][pair.rejected].response_length);
    ++count;
  }
  set->mean_chosen_length = count > 0 ? chosen / count : 0;
  set->mean_rejected_length = count > 0 ? rejected / count : 0;
}

}  // namespace

PairSet build_pairs(std::span<const std::vector<Candidate>> prompts, const PairOptions& options) {
  PairSet set;
  PairCounts& counts = set.counts;
  std::vector<Possible> possible;
  for (size_t p = 0; p < prompts.size(); ++p) {
    count_samples(prompts[p], &counts);
    possible.push_back(possible_of(prompts[p], static_cast<int64_t>(p), options));
  }
  const std::vector<std::optional<Pair>> chosen = choose(possible);
  for (size_t p = 0; p < prompts.size(); ++p) {
    if (!chosen[p]) {
      ++(counts.*possible[p].reason.value());
      continue;
    }
    set.pairs.push_back(*chosen[p]);
    counts.failure_pairs += !chosen[p]->s_rejected;
  }
  counts.prompts = static_cast<int64_t>(prompts.size());
  counts.pairs = static_cast<int64_t>(set.pairs.size());
  measure_lengths(prompts, &set);
  return set;
}

std::vector<RhoTrial> try_rhos(std::span<const std::vector<Candidate>> prompts, const PairOptions& options) {
  PairOptions tried = options;
  tried.parse_failures = Failures::drop;
  std::vector<RhoTrial> trials;
  for (int step = 0; step <= 10; ++step) {
    tried.rho = step / 20.0;
    const PairSet set = build_pairs(prompts, tried);
    trials.push_back({tried.rho, set.counts.pairs, set.mean_chosen_length, set.mean_rejected_length});
  }
  return trials;
}

const RhoTrial& auto_rho(std::span<const RhoTrial> trials) {
  ENSURE(!trials.empty(), "rho is chosen from no trials");
  const auto first = std::find_if(trials.begin(), trials.end(), [](const RhoTrial& t) { return t.balanced(); });
  return first == trials.end() ? trials.back() : *first;
}

}  // namespace thinker
