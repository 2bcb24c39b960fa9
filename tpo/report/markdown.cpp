// The Markdown version, for a README: claims, the curve as a table, categories, differences.
#include "tpo/report/markdown.h"

#include "tensor/check.h"

namespace thinker::report {

std::string markdown_page(const Experiment& experiment, const Runs& runs) {
  std::string out = "# " + markdown_text(experiment.title) + "\n";
  for (const std::string& words : experiment.introduction) out += "\n" + markdown_text(words) + "\n";
  const auto part = [&](const char* heading, const std::string& words, const Table& table) {
    if (!table.empty()) out += concat("\n## ", heading, "\n\n", words, words.empty() ? "" : "\n\n", table.markdown());
  };
  if (!experiment.claims.empty()) {
    out += "\n## Claims\n\n";
    for (const Claim& claim : experiment.claims) {
      out += concat("- (", markdown_text(claim.id), ") **", claim.held ? "held" : "not held", "**",
                    claim.kind == Claim::Kind::set_up ? ", set-up" : "", ": ", markdown_text(claim.text), "\n");
    }
  }
  const bool seeds = arms_of(runs).size() < runs.size();
  part("Score by iteration",
       seeds ? "Mean over seeds with 95 % interval (Student's t over the seeds, or the prompts' where that is wider)."
             : "Mean with 95 % bootstrap interval over the held-out prompts.",
       curve_table(runs));
  part("Categories", "", category_table(runs));
  part("Differences on the same prompts", "", difference_table(runs));
  part("Win rates at the end", "Ties count one half.", win_table(runs));
  for (const Exhibit& e : experiment.exhibits) {
    Table table(e.headers);
    for (const auto& row : e.rows) table.row(row);
    part(markdown_text(e.title).c_str(), markdown_text(e.words), table);
  }
  Table arms({"arm", "seeds"}, 2);
  for (const Arm& arm : arms_of(runs)) {
    std::string list;
    for (const RunData* run : arm.runs) list += (list.empty() ? "" : ", ") + std::to_string(run->seed);
    arms.row({arm.label, list});
  }
  part("Runs", "", arms);
  const std::vector<Arm> all = arms_of(runs);
  for (size_t a = 0, base = baseline_of(all); a < all.size(); ++a)
    if (const std::string why = a == base ? "" : why_not_compared(all[a], all[base]); !why.empty())
      out += concat("\n- not compared: ", markdown_text(concat(all[a].label, ", ", all[base].label, ": ", why)));
  for (const RunData& run : runs)
    for (const std::string& what : run.missing) out += concat("\n- missing: ", markdown_text(run.name + ": " + what));
  return out + (out.ends_with("\n") ? "" : "\n");
}

}  // namespace thinker::report
