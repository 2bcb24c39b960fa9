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
  Interval range{0, 0};  // of the values: no mean lies outside
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
  Interval range{0, 0};  // of the scores
  std::map<std::string, Measured> categories;
  Measured thought_length, response_length;  // code points of outputs that parsed
  Measured parsed;                           // % of outputs that did at the first attempt
};

/// Measures the records; `seed` is the bootstrap's. Token ids and log-probs are dropped: the page needs none.
Evaluation evaluation_of(Stage stage, int64_t iteration, const std::string& file, std::vector<EvalRecord> records,
                         uint64_t seed);

/// What the report uses of a line of pairs.jsonl.
struct PairLine {
  Json id;
  int64_t chosen_sample = 0, rejected_sample = 0;
};

/// What the log tells of pairing.
struct PairingLog {
  PairCounts counts;
  double rho = 0.0, mean_chosen_length = 0.0, mean_rejected_length = 0.0;
  bool balanced = false;         // chosen responses are not longer
  std::vector<RhoTrial> trials;  // none in an older log
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
  Json judge;  // judge_report of the judgments; null when there are none
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
  size_t arm = 0;            // of the page's arms
  std::string arm_label;
  Json recipe;
  uint64_t seed = 0;                    // of the recipe, for the bootstrap
  bool thinks = false;                  // the recipe has a thought prompt
  std::vector<Evaluation> evaluations;  // in the order of the work
  std::vector<Prompt> held_out;         // what the evaluations asked; empty where the run did not keep it
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
std::string stage_name(const RunData& run, Stage stage, int64_t iteration = 0);

/// Score of a minus score of b on the prompts that both scored, by id: the prompts are the same, so the difference is
/// better known than either.
struct PairedScores {
  std::vector<double> all;
  std::map<std::string, std::vector<double>> categories;

  PairedScores(const Evaluation& a, const Evaluation& b);
};

/// "0.861 [0.843, 0.879]".
std::string with_interval(const Measured& value, int decimals);

}  // namespace thinker::report
