// The closing table of a run.
#pragma once

#include <iosfwd>
#include <vector>

#include "tpo/run.h"

namespace thinker {

/// One line a row: label, held-out score with its 95 % interval, share of outputs that parse, lengths.
void print_rows(std::ostream& out, const std::vector<RunRow>& rows);

}  // namespace thinker
