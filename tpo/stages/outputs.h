// Outputs that lie in a file, ours or another tool's, as records to evaluate; and outputs written for other tools to
// score.
//
//   samples.jsonl, eval.jsonl   ours; of several samples of a prompt the first counts
//   AlpacaEval                  model_outputs.json: a list of {"dataset", "instruction", "output", "generator"}
//   Arena-Hard                  an answer file, JSONL: {"uid", "ans_id", "model", "messages", "tstamp"}
//
// Arena-Hard's answer is in the last message's {"content": {"answer": …}}; v0.1's {"question_id", "choices"} are read,
// too.
//
// What is written holds prompts and responses. A thought, or an output that did not parse and so may be one, never is:
// in its place stands an empty answer.
#pragma once

#include <string>
#include <vector>

#include "tpo/stages/evaluate.h"

namespace thinker {

/// Whether a name is that of stored outputs (.json, .jsonl) rather than of a model.
bool is_outputs_file(const std::string& path);

struct StoredOutputs {
  std::vector<EvalRecord> records;  // one for each prompt, in the prompts' order; not judged
  int64_t unmatched = 0;            // outputs that belong to none of the prompts
};

/// AlpacaEval's outputs belong to the prompts by their text, the others by id. Throws Error "FILE:LINE: reason", and
/// one that names a prompt when the file has no output for it.
StoredOutputs read_outputs(const std::string& path, const std::vector<Prompt>& prompts);

enum class ExportFormat { none, alpaca_eval, arena_hard };

/// Throws Error when the prompts cannot be written so: AlpacaEval has one user message a prompt and nothing else.
void check_export(ExportFormat format, const std::vector<Prompt>& prompts);

/// The file's text. records: one for each prompt, in their order. generator: the model's name in it. time: seconds
/// since 1970, for Arena-Hard.
std::string export_outputs(ExportFormat format, const std::vector<Prompt>& prompts,
                           const std::vector<EvalRecord>& records, const std::string& generator, double time);

}  // namespace thinker
