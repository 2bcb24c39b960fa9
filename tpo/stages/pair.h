// The pairing stage: from a prompt's samples and judgments to the pair that training sees (tpo/pairs.h decides which).
#pragma once

#include <string>
#include <vector>

#include "tpo/model.h"
#include "tpo/pairs.h"
#include "tpo/samples.h"
#include "tpo/training.h"

namespace thinker {

/// One line of pairs.jsonl.
struct PairRecord {
  Json id;
  Messages messages;             // the training prompt, thought prompt included
  std::string chosen, rejected;  // full texts: thought, marker, response
  IdPair ids;                    // as sampled
  int64_t chosen_sample = 0, rejected_sample = 0;
  std::optional<double> score_chosen, score_rejected;     // raw
  std::optional<double> s_chosen, s_rejected;             // length-controlled
  std::optional<int64_t> length_chosen, length_rejected;  // of the responses; none where an output did not parse
};

Json pair_to_json(const PairRecord& pair);

/// A {"messages" or "prompt", "chosen", "rejected"} or {"prompt_ids", "chosen_ids", "rejected_ids"} line to train on.
/// Ids, where present, are used untouched; texts are encoded by `text`. Throws Error "FILE:LINE: reason".
IdPair parse_id_pair(const JsonLine& line, const ChatTokenizer& text);

/// All lines of a file.
std::vector<IdPair> read_id_pairs(const std::string& path, const ChatTokenizer& text);

/// In which unit responses are measured.
enum class LengthUnit { chars, tokens };

struct PairStage {
  PairOptions options;
  bool auto_rho = false;
  LengthUnit length = LengthUnit::chars;
  ThoughtStyle style;  // of the samples: goes back into the training prompt
};

struct PairResult {
  std::vector<PairRecord> pairs;
  PairCounts counts;
  double rho = 0.0;
  LengthUnit length = LengthUnit::chars;
  double mean_chosen_length = 0.0, mean_rejected_length = 0.0;
  std::vector<RhoTrial> trials;  // what other rhos would have made of the lengths

  /// Chosen responses are on average not longer than rejected ones: what rho "auto" looks for, and may not reach.
  bool balanced() const { return mean_chosen_length <= mean_rejected_length; }
};

/// "chars" or "tokens".
const char* name(LengthUnit unit);

/// The counts as a log line: pairs, every reason for no pair, rho, both mean lengths with their unit, and whether they
/// balance.
Json counts_to_json(const PairResult& result);
/// Where no pair was built, the reasons in words, each with its number: "from 12 prompts: 8 with equal scores, …"; and
/// what the judge said first of an output that it did not score.
std::string why_no_pair(const PairCounts& counts, const std::vector<JudgmentRecord>& judgments);
/// A list of {rho, pairs, chosen_length, rejected_length}.
Json trials_to_json(const std::vector<RhoTrial>& trials);

/// Where samples and judgments were read from: an error about one of them begins with its file.
struct PairFiles {
  std::string samples, judgments;
};

/// Builds the pairs of all prompts. Throws Error when a sample's prompt is not in the list. `tokenizer` is only needed
/// for LengthUnit::tokens.
PairResult pair_samples(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples,
                        const std::vector<JudgmentRecord>& judgments, const PairStage& stage,
                        const ChatTokenizer* tokenizer, const PairFiles& files);

}  // namespace thinker
