// Best-against-worst pairs for DPO from the judged samples of each prompt.
//
//   s_i = z(score_i) - rho z(length_i) over a prompt's valid samples;  chosen = argmax s, rejected = argmin s
//
// (the paper's section on building pairs; equal s: the lower sample index). A pair that could not teach is not built:
// each such case is counted. With parse_failures "reject", outputs that did not parse teach the format: one may be the
// rejected side.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace thinker {

/// What pair building needs to know of one sample.
struct Candidate {
  int64_t sample = 0;           // its index among the prompt's samples
  std::string text;             // the full output: thought, marker, response
  bool parsed = false;          // the splitter said ok
  bool truncated = false;       // cut at the token limit
  std::optional<double> score;  // raw; none when the judge failed or was not asked
  int64_t response_length = 0;  // code points or tokens
};

enum class Failures { drop, reject };

struct PairOptions {
  double rho = 0.0;
  Failures parse_failures = Failures::drop;  // reject: an output that did not parse may be the rejected side
  Failures truncated = Failures::drop;       // reject: so may a truncated one (of those that did not parse)
};

/// A built pair: indices into the arguments, and what the length control made of both sides.
struct Pair {
  int64_t prompt;
  int64_t chosen, rejected;  // indices into the prompt's candidates
  double s_chosen;
  std::optional<double> s_rejected;  // none when the rejected side did not parse
};

/// Where the prompts went: pairs + all no-pair counters = prompts.
struct PairCounts {
  int64_t prompts = 0;
  int64_t pairs = 0;  // of these, failure_pairs have an output that did not parse on the rejected side
  int64_t failure_pairs = 0;
  int64_t too_few_valid = 0;  // fewer than two samples parsed, ended, and got a score
  int64_t equal_scores = 0;   // all raw scores equal: a tie teaches nothing but length
  int64_t equal_texts = 0;    // chosen and rejected are the same text
  int64_t not_better = 0;  // length control would prefer a sample that the judge does not: raw(chosen) <= raw(rejected)
  // Samples.
  int64_t samples = 0, unparsed = 0, truncated = 0, unjudged = 0;  // unjudged: parsed and ended, but without a score
};

struct PairSet {
  std::vector<Pair> pairs;  // in the prompts' order
  PairCounts counts;
  double mean_chosen_length = 0, mean_rejected_length = 0;  // of responses, over the pairs whose two sides parsed
};

/// Builds at most one pair per prompt. Pure: no randomness, no order of anything but the arguments'.
/// Failure pairs: first the prompts that give no other pair (but have a valid sample), then prompts whose rejected side
/// is replaced, each in the prompts' order, while failures are at most a tenth of all pairs. The failed side is the
/// first such sample; the chosen side is argmax s as ever.
PairSet build_pairs(std::span<const std::vector<Candidate>> prompts, const PairOptions& options);

/// What a rho would make of the pairs.
struct RhoTrial {
  double rho = 0;
  int64_t pairs = 0;
  double chosen_length = 0, rejected_length = 0;  // means over the pairs' responses

  bool balanced() const { return chosen_length <= rejected_length; }
};

/// Of 0, 0.05, … 0.5, without pairs for the format: an output that did not parse has no response, and so no length.
std::vector<RhoTrial> try_rhos(std::span<const std::vector<Candidate>> prompts, const PairOptions& options);

/// rho "auto": the first trial that is balanced; the last where none is.
const RhoTrial& auto_rho(std::span<const RhoTrial> trials);

}  // namespace thinker
