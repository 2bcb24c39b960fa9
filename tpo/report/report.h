// The report: one or several runs as a page that a person reads top to bottom. It is one file with its charts and style
// in it; it loads nothing and runs nothing, so it can be mailed, and opened years later.
#pragma once

#include <string>
#include <vector>

namespace thinker {

/// The page's text. Runs are compared as they come: the first colour is the first run's. An empty title: the runs'
/// names. Throws Error when a folder holds no run, when a line in it is broken (FILE:LINE), or when no folder is given.
std::string report_page(const std::vector<std::string>& run_folders, const std::string& title = "");

/// Writes it, at once or not at all.
void write_report(const std::vector<std::string>& run_folders, const std::string& title, const std::string& path);

}  // namespace thinker
