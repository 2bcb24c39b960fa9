#include "tools/table.h"

#include <cstdio>
#include <ostream>

namespace thinker {

void print_rows(std::ostream& out, const std::vector<RunRow>& rows) {
  char line[200];
  std::snprintf(line, sizeof line, "%-20s %7s  %-16s %8s %9s %9s\n", "", "score", "95 % interval", "parsed", "thought",
                "response");
  out << line;
  for (const RunRow& row : rows) {
    const EvalSummary& e = row.eval;
    std::snprintf(line, sizeof line, "%-20s %7.3f  [%.3f, %.3f]   %6.1f %% %9.1f %9.1f\n", row.label.c_str(), e.score,
                  e.interval.low, e.interval.high, 100.0 * e.parse_rate, e.thought_length, e.response_length);
    out << line;
  }
  if (!rows.empty()) out << "(" << rows.front().eval.prompts << " held-out prompts; lengths in characters, of parsed outputs)\n";
}

}  // namespace thinker
