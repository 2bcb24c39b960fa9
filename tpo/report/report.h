// The report: an experiment, or a few runs, as a page that a person reads top to bottom. It is one file with its charts
// and style in it; it loads nothing, so it can be mailed, and opened years later.
#pragma once

#include <string>

#include "tpo/report/arms.h"
#include "tpo/report/experiment.h"

namespace thinker {

/// The page's text. Arms are compared as they come: the first colour is the first arm's. Throws Error when a folder
/// holds no run, or when a line in it is broken (FILE:LINE).
std::string report_page(const Experiment& experiment);
/// The same of runs that have been read (report::read_runs).
std::string report_page(const Experiment& experiment, const report::Runs& runs);

/// The tables and claims, and the curve as a table, in Markdown for a README. Throws like report_page.
std::string report_markdown(const Experiment& experiment);

/// Writes the page, at once or not at all.
void write_report(const Experiment& experiment, const std::string& path);

/// The same of runs, each an arm of its own (experiment_of_runs).
void write_report(const std::vector<std::string>& run_folders, const std::string& title, const std::string& path);

}  // namespace thinker
