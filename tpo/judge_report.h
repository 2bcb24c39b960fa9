// What judgments tell about the judge: how often it fails and ties, whether it favours the response that it reads first
// or the longer one, and how far it agrees with another judge of the same samples.
//
// Opinions are compared pair by pair: of two samples of a prompt a judge prefers one or neither. A pointwise judge
// prefers the higher score; a pairwise one what won more of the pair's games, so two orders that disagree are a tie.
// Correlations are taken within each prompt and averaged over prompts, since only differences within a prompt make
// pairs: a judge that gives short questions low scores is not for that a judge that likes long answers.
#pragma once

#include <string>

#include "tpo/samples.h"

namespace thinker {

/// {"kind", "prompts", "samples", "judged", "errors", "failure_rate", "pairs", "tie_rate", "length": {"spearman",
/// "prompts", "longer_wins", "decided"}}, and of games "position": the summary of tpo/stages/judge.h. What is undefined
/// is null. rule: how games become the scores that "spearman" takes.
Json judge_report(const Judgments& judgments, const ScoreRule& rule = {});

/// {"samples", "pairs", "only_first", "only_second", "agreement", "decided", "agreement_decided", "kappa",
/// "kendall_tau", "spearman"}: pairs that both have an opinion on, and those that only one has; the share with the same
/// one of better, worse, tie; the same among pairs that neither ties. Throws Error when they judged different
/// responses.
Json judge_agreement(const Judgments& first, const Judgments& second);

/// Both as a table for people. names: of the files.
std::string describe_report(const std::vector<std::string>& names, const std::vector<Json>& reports,
                            const Json& agreement);

}  // namespace thinker
