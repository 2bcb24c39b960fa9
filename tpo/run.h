// The loop of Thought Preference Optimization (the paper's Figure 1): sample from the current model, judge the
// responses, pair the best with the worst, train, evaluate, and again with fresh prompts. Each stage leaves one file; a
// stage whose file exists is not run again, which is all that resuming is.
//
//   FOLDER/recipe.json  log.jsonl
//          iter-0/  prompts.jsonl  eval_direct.jsonl  eval.jsonl      held out; the model as it comes, without thoughts
//                                                                     and with them
//          warmup/  samples.jsonl  checkpoint/  eval.jsonl            where the recipe has a format warm-up
//          iter-T/  prompts.jsonl  samples.jsonl  judgments.jsonl  pairs.jsonl  checkpoint/  eval.jsonl
// With "lora" the warm-up and every iteration train fresh adapters; a checkpoint is the model with these merged, and
// checkpoint/adapter/ holds them alone. The next iteration, and its reference "previous", begin from the merged model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tpo/model.h"
#include "tpo/progress.h"
#include "tpo/recipe.h"
#include "tpo/stages/evaluate.h"

namespace thinker {

/// Where a run's prompts come from.
struct PromptSets {
  /// `count` training prompts from the first-th on. Throws Error when there are not that many.
  std::function<std::vector<Prompt>(int64_t first, int64_t count)> train;
  std::vector<Prompt> select, test;
};

/// Opens what the recipe names. Throws Error when a prompt occurs in two of the sets, or twice among the training
/// prompts: an iteration then would see again what an earlier one has seen.
PromptSets open_prompts(const Recipe& recipe);

enum class Resume { no, yes };

struct RunOptions {
  std::string folder;
  Resume resume = Resume::no;
  Progress progress;
  /// Gets each line as it goes to log.jsonl.
  std::function<void(const Json&)> on_log;
  /// Gets each sample after each of its tokens, for a display of speed.
  std::function<void(const GeneratedSample&)> on_token;
  /// Called as iteration t of `of` begins, from 1; Resume::yes: an earlier call of run_loop began it.
  std::function<void(int64_t t, int64_t of, Resume begun)> on_iteration;
};

/// One row of the closing table.
struct RunRow {
  int64_t iteration = 0;
  std::string label;
  EvalSummary eval;
};

struct RunResult {
  std::vector<RunRow> rows;
  std::string checkpoint;  // the last one
};

/// check_prompts (stages/sample.h) of every prompt that the recipe's run asks the model.
int64_t check_run_prompts(const Recipe& recipe, const Model& model, const PromptSets& prompts);

/// Runs all of the recipe on an opened model, which is trained in place. Throws Error before anything is written
/// when a prompt cannot be asked; when the folder holds a run and resume was not asked for, when it holds a run of
/// another recipe, when another process runs there, or with advice when too few outputs parse to go on. What progress
/// throws ends the run; a resumed one goes on with the same bits.
RunResult run_loop(const Recipe& recipe, Model& model, const PromptSets& prompts, const RunOptions& options);

}  // namespace thinker
