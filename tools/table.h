// The closing table of a run.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "tpo/run.h"

namespace thinker {

/// One line a row: label, held-out score with its 95 % interval, shares with markers and parsed, lengths. Where outputs
/// were not judged, another one tells how many.
void print_rows(std::ostream& out, const std::vector<RunRow>& rows);

/// What became of each iteration's prompts, from the run's log: pairs, ties and other reasons for none.
void print_pairs(std::ostream& out, const std::string& folder);

}  // namespace thinker
