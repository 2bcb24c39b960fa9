// Evaluation: one sampled output a prompt, judged like any other. An output that does not parse is sampled again, up to
// a limit, and then loses: a model must not gain by failing where it would be weak. Its score is 0, or the lowest that
// is known where a judge (a reward model, say) goes below 0: of this evaluation, and of others it is compared with.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tpo/stages/sample.h"
#include "tpo/statistics.h"

namespace thinker {

/// One line of eval.jsonl.
struct EvalRecord {
  std::string category;
  SampleRecord sample;  // of the last attempt
  int64_t attempts = 1;
  Parse first_parse = Parse::ok;  // of the first attempt
  Judged judged;
};

Json eval_to_json(const EvalRecord& record);
/// Throws Error on a missing or ill-typed field.
EvalRecord parse_eval(const JsonLine& line);
/// All of an eval.jsonl; throws as parse_eval does, and when the file cannot be read.
std::vector<EvalRecord> read_evals(const std::string& path);

struct CategoryScore {
  double score = 0.0;  // mean
  int64_t prompts = 0;
  Interval interval{0, 0};
};

struct EvalSummary {
  int64_t prompts = 0;
  int64_t unjudged = 0;      // the judge failed: left out of the score
  double score = 0.0;        // mean
  Interval interval{0, 0};   // bootstrap 95 % over prompts
  double parse_rate = 0.0;   // of first attempts
  int64_t failed = 0;        // prompts to which no attempt parsed
  double marker_rate = 0.0;  // first attempts that hold the style's markers, whatever else may be wrong with them
  double thought_length = 0.0, response_length = 0.0;  // mean code points of parsed outputs
  std::map<std::string, CategoryScore> categories;

  /// Whether the judge scored anything, or had nothing to score since no output parsed. Where it failed on all that it
  /// was shown, score and interval are of nothing: the zeros of outputs that did not parse say nothing of the others.
  bool scored() const { return prompts > 0 && (unjudged == 0 || unjudged + failed < prompts); }
};

/// The summary that `thinker eval` prints: docs/reference.md names the fields. "score", "low" and "high" are null where
/// nothing was scored: 0 would be taken for a result.
Json summary_to_json(const EvalSummary& summary);
/// Means and bootstrap intervals over the judged records; rates and lengths over all. seed: of the bootstrap. No
/// records: zeros.
EvalSummary summarise(const std::vector<EvalRecord>& records, uint64_t seed);

/// The lowest score of the records (EvalRecord, JudgmentRecord), or `known` where that is lower.
template <class Record>
double lowest_score(const std::vector<Record>& records, double known = 0.0) {
  for (const Record& r : records) known = std::min(known, r.judged.score.value_or(known));
  return known;
}
/// Judges the records whose sample parsed; the others get the lowest score, theirs or `known`. Throws as judge_samples
/// does.
void judge_records(std::vector<EvalRecord>& records, Judge& judge, const std::vector<Prompt>& prompts,
                   double known = 0.0, const Progress& progress = {});

/// Samples (with stage.k = 1), resamples failures up to `resample` times. Ordered like the prompts; nothing is judged.
/// Throws Error when a prompt fills the model's context.
std::vector<EvalRecord> sample_outputs(const Model& model, const std::vector<Prompt>& prompts, SampleStage stage,
                                       int64_t resample, const Progress& progress);

/// The records' outputs, in their order.
std::vector<SampleRecord> outputs_of(const std::vector<EvalRecord>& records);

}  // namespace thinker
