#include "tools/table.h"

#include <cstdio>
#include <ostream>

#include "tpo/jsonl.h"

namespace thinker {

void print_rows(std::ostream& out, const std::vector<RunRow>& rows) {
  char line[200];
  std::snprintf(line, sizeof line, "%-20s %7s  %-16s %8s %8s %9s %9s\n", "", "score", "95 % interval", "markers",
                "parsed", "thought", "response");
  out << line;
  for (const RunRow& row : rows) {
    const EvalSummary& e = row.eval;
    char score[40] = "-", interval[60] = "-";
    if (e.scored()) {
      std::snprintf(score, sizeof score, "%.3f", e.score);
      std::snprintf(interval, sizeof interval, "[%.3f, %.3f]", e.interval.low, e.interval.high);
    }
    std::snprintf(line, sizeof line, "%-20s %7s  %-14s   %6.1f %% %6.1f %% %9.1f %9.1f\n", row.label.c_str(), score,
                  interval, 100.0 * e.marker_rate, 100.0 * e.parse_rate, e.thought_length, e.response_length);
    out << line;
    if (e.unjudged > 0)
      out << "  not judged, and not in the score: " << e.unjudged << " of " << e.prompts << " outputs\n";
  }
  if (!rows.empty())
    out << "(" << rows.front().eval.prompts
        << " held-out prompts; markers, parsed: share of first attempts; lengths in characters)\n";
}

void print_pairs(std::ostream& out, const std::string& folder) {
  JsonlReader log(folder + "/log.jsonl");
  while (auto line = log.next()) {
    if (!line->has("pairs") || line->string("stage") != "pair") continue;
    out << "iteration " << line->integer("iteration") << ": " << line->integer("pairs") << " pairs of "
        << line->integer("prompts") << " prompts; none for ties in score: " << line->integer("equal_scores")
        << ", fewer than two valid outputs: " << line->integer("too_few_valid")
        << ", equal texts: " << line->integer("equal_texts") << ", length control: " << line->integer("not_better")
        << "; outputs that did not parse: " << line->integer("unparsed") << " of " << line->integer("samples") << "\n";
  }
}

}  // namespace thinker
