// The report as Markdown.
#pragma once

#include "tpo/report/sections.h"

namespace thinker::report {

/// Everything that comes from data is escaped.
std::string markdown_page(const Experiment& experiment, const Runs& runs);

}  // namespace thinker::report
