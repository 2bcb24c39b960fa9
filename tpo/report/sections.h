// The page's sections. Each takes all runs, says in words what it shows, and what is not there.
#pragma once

#include <string>
#include <vector>

#include "tpo/report/html.h"
#include "tpo/report/run_data.h"

namespace thinker::report {

using Runs = std::vector<RunData>;

Html summary_section(const Runs& runs);   // the answer in a few sentences, and what is missing
Html recipe_section(const Runs& runs);    // what was run
Html scores_section(const Runs& runs);    // table, curve over the iterations, differences
Html category_section(const Runs& runs);  // before and after, for each kind of prompt
Html length_section(const Runs& runs);    // thoughts and responses
Html parse_section(const Runs& runs);     // how many outputs follow the format, and why not
Html pairs_section(const Runs& runs);     // where the prompts went
Html training_section(const Runs& runs);  // loss, margin, log-probs
Html samples_section(const Runs& runs);   // what the model wrote

// What several sections need.

/// <section> with a heading.
Html section(const char* heading, const Html& inner);
/// A paragraph of ours or of data: escaped.
Html paragraph(const std::string& data);
/// A chart under its caption, its numbers in a table that unfolds.
Html figure(const std::string& caption, const Html& chart, const Html& table);
/// Charts beside each other where the screen is wide.
Html figures(const Html& inner);

/// Digits for scores: three decimals where they lie within [-1, 1], fewer for judges with larger scales.
int score_decimals(const Runs& runs);
/// "0.861 [0.843, 0.879]".
std::string with_interval(const Measured& value, int decimals);
Measured score_of(const Evaluation& evaluation);

}  // namespace thinker::report
