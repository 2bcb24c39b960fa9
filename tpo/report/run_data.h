// What the report knows of a run: its folder (tpo/run.h says what lies where), read once. A run may be unfinished: a
// file that is not there is noted and left out. A file that is there but broken is an error that names file and line.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tpo/pairs.h"
#include "tpo/samples.h"
#include "tpo/stages/evaluate.h"

namespace thinker::report {

/// A mean over prompts with its bootstrap 95 % interval.
struct Measured {
  double mean = 0.0;
  Interval interval{0, 0};
  int64_t count = 0;
};

Measured measure(const std::vector<double>& values, uint64_t seed);

enum class Stage { seed_direct, seed, warmup, iteration };

/// One evaluation on the held-out prompts.
struct Evaluation {
  Stage stage;
  int64_t iteration = 0;
  std::string file;  // within the run, such as "iter-1/eval.jsonl"
  std::vector<EvalRecord> records;
  EvalSummary summary;
  std::map<std::string, Measured> categories;
  Measured thought_length, response_length;  // code points of outputs that parsed
};

/// What the report uses of a line of pairs.jsonl.
struct PairLine {
  Json id;
  int64_t chosen_sample = 0, rejected_sample = 0;
};

/// What the log tells of pairing.
struct PairingLog {
  PairCounts counts;
  double rho = 0.0, mean_chosen_length = 0.0, mean_rejected_length = 0.0;
};

struct TrainStep {
  int64_t step = 0, epoch = 0;
  double loss = 0.0, margin = 0.0, logp_chosen = 0.0, logp_rejected = 0.0, accuracy = 0.0;
};

/// The held-out score after an epoch, by which an iteration's checkpoint is chosen.
struct Selection {
  int64_t epoch = 0;
  double score = 0.0;
  Interval interval{0, 0};
};

struct IterationData {
  int64_t iteration = 0;
  std::vector<Prompt> prompts;
  std::vector<SampleRecord> samples;  // without token ids and log-probs
  std::vector<JudgmentRecord> judgments;
  std::vector<PairLine> pairs;
  std::optional<PairingLog> pairing;
  std::vector<TrainStep> steps;
  std::vector<Selection> selections;
};

struct WarmupData {
  int64_t samples = 0, kept = 0;
  std::vector<double> losses;  // one a step
};

struct RunData {
  std::string folder, name;  // name: what the page calls it, the folder's last part
  Json recipe;
  uint64_t seed = 0;                    // of the recipe, for the bootstrap
  bool thinks = false;                  // the recipe has a thought prompt
  std::vector<Evaluation> evaluations;  // in the order of the work
  std::vector<IterationData> iterations;
  std::optional<WarmupData> warmup;
  std::vector<std::string> missing;  // sentences

  const Evaluation* find(Stage stage, int64_t iteration = 0) const;
  /// The last evaluation after training, or nothing.
  const Evaluation* last_trained() const;
};

/// Reads a run's folder. Throws Error when it holds no recipe.json, or "FILE:LINE: reason" for a broken line.
RunData read_run(const std::string& folder);

/// "seed, direct", "seed, thinking", "seed", "after the warm-up", "iteration 2".
std::string stage_name(const RunData& run, const Evaluation& evaluation);

/// Mean of (a - b) over the prompts that both scored: the prompts are the same, so the difference is better known than
/// either. count 0 when there are none.
Measured paired_difference(const Evaluation& a, const Evaluation& b, uint64_t seed);

}  // namespace thinker::report
