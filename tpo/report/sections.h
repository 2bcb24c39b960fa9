// The page's sections. Each takes all runs, says in words what it shows, and what is not there.
#pragma once

#include <string>
#include <vector>

#include "tpo/report/arms.h"
#include "tpo/report/experiment.h"
#include "tpo/report/html.h"
#include "tpo/report/run_data.h"

namespace thinker::report {

Html introduction_section(const Experiment& experiment, const Runs& runs);  // what was run, and what is missing
Html claims_section(const Experiment& experiment);                          // held, or not
Html scores_section(const Runs& runs);                                      // the curve, and differences
Html category_section(const Runs& runs);              // before and after, and against the baseline
Html length_section(const Runs& runs);                // thoughts and responses
Html parse_section(const Runs& runs);                 // how many outputs follow the format, and why not
Html exhibits_section(const Experiment& experiment);  // what the experiment brings itself
Html pairs_section(const Runs& runs);                 // where the prompts went, chosen against rejected, rho
Html judge_section(const Runs& runs);                 // failures, ties, order, length
Html training_section(const Runs& runs);              // loss, margin, log-probs
Html samples_section(const Runs& runs);               // what the model wrote, to browse

// The tables that the Markdown version shows too.

Table curve_table(const Runs& runs);       // a row an iteration, a column an arm
Table difference_table(const Runs& runs);  // on the same prompts
Table win_table(const Runs& runs);         // at the end, raw and at equal lengths
Table category_table(const Runs& runs);    // at the end

// What several sections need.

/// <section> with a heading.
Html section(const char* heading, const Html& inner);
/// A paragraph of ours or of data: escaped.
Html paragraph(const std::string& data);
/// A chart under its caption, its numbers in a table that unfolds.
Html figure(const std::string& caption, const Html& chart, const Html& table);
/// Charts beside each other where the screen is wide.
Html figures(const Html& inner);

/// A table under its label; a long one unfolds.
Html folded_when_long(const std::string& label, const Table& table);

/// Digits for scores: three decimals where they lie within [-1, 1], fewer for judges with larger scales.
int score_decimals(const Runs& runs);
/// "+0.120 [0.100, 0.140]".
std::string signed_interval(const Measured& value, int decimals);
/// "higher", "lower", or that it cannot be told.
std::string verdict(const Measured& difference);
/// The arm that others are compared with: the first that does not think, or else the first.
size_t baseline_of(const std::vector<Arm>& arms);
/// A measure's numbers, a row an evaluation of an arm, with each seed.
Html measure_table(const Runs& runs, const std::string& header, const Measure& measure, int decimals);
/// Text of a category; of none too.
std::string category_label(const std::string& category);

}  // namespace thinker::report
