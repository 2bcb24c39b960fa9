// The judging stage: every valid sample's response, and nothing else of it, is shown to the judge.
#pragma once

#include <string>
#include <vector>

#include "tpo/judge.h"
#include "tpo/judges/ifeval.h"
#include "tpo/progress.h"
#include "tpo/samples.h"

namespace thinker {

/// Judgments of all samples that parsed, in the samples' order. Throws Error when a sample's prompt is not in the list.
std::vector<JudgmentRecord> judge_samples(Judge& judge, const std::vector<Prompt>& prompts,
                                          const std::vector<SampleRecord>& samples);

/// IFEval's accuracies over the samples whose prompts are of its format. One that did not parse follows nothing.
ifeval::Accuracy ifeval_accuracy(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples);

}  // namespace thinker
