// From judgments to pairs: what the judge did, where the prompts went, and what length control made of the lengths.
#include <algorithm>

#include "tensor/check.h"
#include "tpo/report/sections.h"

namespace thinker::report {

namespace {

bool rho_is_auto(const RunData& run) {
  return run.recipe.value(Json::json_pointer("/pairs/rho"), Json()) == "auto";
}

Table counts_table(const Runs& runs) {
  Table table({"run", "iteration", "prompts", "pairs", "of these with a failed output", "too few valid samples",
               "all scores equal", "equal texts", "chosen not better", "rho", "chosen length", "rejected length"});
  for (const RunData& run : runs) {
    for (const IterationData& data : run.iterations) {
      if (!data.pairing) continue;
      const PairCounts& c = data.pairing->counts;
      const std::string balance = rho_is_auto(run) && !data.pairing->balanced ? " (not enough)" : "";
      table.row({run.name, std::to_string(data.iteration), std::to_string(c.prompts), std::to_string(c.pairs),
                 std::to_string(c.failure_pairs), std::to_string(c.too_few_valid), std::to_string(c.equal_scores),
                 std::to_string(c.equal_texts), std::to_string(c.not_better), fixed(data.pairing->rho, 2) + balance,
                 fixed(data.pairing->mean_chosen_length, 1), fixed(data.pairing->mean_rejected_length, 1)});
    }
  }
  return table;
}

/// Chosen and rejected lengths by iteration: means over an arm's seeds.
Html length_figure(const Arm& arm, const std::string& caption) {
  LineChart chart{caption, "iteration", "mean length of the responses", {}, {}, {}};
  Table table({"iteration", "chosen", "rejected"});
  Series chosen{"chosen", {{}}, {}}, rejected{"rejected", {{}}, {}};
  std::map<int64_t, std::vector<const PairingLog*>> iterations;
  for (const RunData* run : arm.runs)
    for (const IterationData& data : run->iterations)
      if (data.pairing) iterations[data.iteration].push_back(&*data.pairing);
  for (const auto& [t, logs] : iterations) {
    Point c{static_cast<double>(t), 0, std::nullopt, ""}, r = c;
    for (const PairingLog* log : logs) {
      c.y += log->mean_chosen_length / static_cast<double>(logs.size());
      r.y += log->mean_rejected_length / static_cast<double>(logs.size());
    }
    chosen.pieces[0].push_back(c);
    rejected.pieces[0].push_back(r);
    chart.x_ticks.push_back({c.x, std::to_string(t)});
    table.row({std::to_string(t), fixed(c.y, 1), fixed(r.y, 1)});
  }
  chart.series = {chosen, rejected};
  return figure(caption, line_chart(chart), table.html());
}

/// What each rho would have made of the lengths in the last iteration that was paired, in the mean over seeds; the rho
/// that was used is the upright line. Nothing where no log tells.
Html rho_figure(const Arm& arm, const std::string& caption) {
  std::vector<const PairingLog*> logs;
  for (const RunData* run : arm.runs) {
    const auto last = std::find_if(run->iterations.rbegin(), run->iterations.rend(), [](const IterationData& data) {
      return data.pairing && !data.pairing->trials.empty();
    });
    if (last != run->iterations.rend()) logs.push_back(&*last->pairing);
  }
  if (logs.empty()) return {};
  LineChart chart{caption, "rho", "mean length of the responses", {}, {}, {}};
  Table table({"rho", "chosen", "rejected", "pairs, all seeds"});
  Series chosen{"chosen", {{}}, {}}, rejected{"rejected", {{}}, {}};
  for (size_t i = 0; i < logs.front()->trials.size(); ++i) {
    RhoTrial sum{logs.front()->trials[i].rho};
    for (const PairingLog* log : logs) {
      if (i >= log->trials.size()) continue;
      sum.pairs += log->trials[i].pairs;
      sum.chosen_length += log->trials[i].chosen_length / static_cast<double>(logs.size());
      sum.rejected_length += log->trials[i].rejected_length / static_cast<double>(logs.size());
    }
    chosen.pieces[0].push_back({sum.rho, sum.chosen_length, std::nullopt, ""});
    rejected.pieces[0].push_back({sum.rho, sum.rejected_length, std::nullopt, ""});
    table.row(
        {fixed(sum.rho, 2), fixed(sum.chosen_length, 1), fixed(sum.rejected_length, 1), std::to_string(sum.pairs)});
  }
  for (const PairingLog* log : logs) chart.x_rules.push_back(log->rho);
  chart.series = {chosen, rejected};
  return figure(caption, line_chart(chart), table.html());
}

const char* rho_words(const Arm& arm) {
  if (!rho_is_auto(*arm.runs.front())) return "rho is fixed by the recipe.";
  return "rho is chosen anew in each iteration: the first of 0, 0.05, … 0.5 at which chosen responses are on average "
         "not longer than rejected ones (\"not enough\": they are longer even at 0.5).";
}

/// A number of a judge's report, or "-".
std::string number(const Json& report, const char* pointer, int decimals) {
  const Json::json_pointer at(pointer);
  return report.contains(at) && report.at(at).is_number() ? fixed(report.at(at).get<double>(), decimals) : "-";
}

}  // namespace

Html pairs_section(const Runs& runs) {
  Table table = counts_table(runs);
  if (table.empty()) return section("Pairs", "<p class=\"missing\">No pairs have been built yet.</p>"_html);
  if (runs.size() == 1) table.hide(0);
  Html inner = paragraph(
      "Each prompt gives at most one pair: its best sample against its worst, by s = z(score) - rho z(length of the "
      "response). The columns after the pairs say why the other prompts gave none. Lengths are means over the pairs' "
      "responses, in the unit of the recipe.");
  Html charts;
  const std::vector<Arm> arms = arms_of(runs);
  std::map<std::string, std::string> rho_of;  // what is said of rho, and of which arms
  for (const Arm& arm : arms) {
    std::string& who = rho_of[rho_words(arm)];
    who += (who.empty() ? "" : "; ") + arm.label;
    const std::string whose = arms.size() > 1 ? ", " + arm.label : "";
    charts += length_figure(arm, "Chosen against rejected length" + whose);
    charts += rho_figure(arm, "What each rho would make of the lengths, last iteration" + whose);
  }
  for (const auto& [words, who] : rho_of) inner += paragraph(rho_of.size() > 1 ? who + ": " + words : words);
  return section("Pairs", inner + figures(charts) + folded_when_long("Where the prompts went", table));
}

Html judge_section(const Runs& runs) {
  Table table({"run", "iteration", "judgments", "failed", "pairs of samples", "tied", "the two orders agree",
               "won by the response shown first", "won by the longer response", "rank correlation with length"});
  bool games = false;
  for (const RunData& run : runs) {
    for (const IterationData& data : run.iterations) {
      const Json& r = data.judge;
      if (r.is_null()) continue;
      games |= r.contains("position");
      table.row({run.name, std::to_string(data.iteration), number(r, "/judged", 0), number(r, "/failure_rate", 3),
                 number(r, "/pairs", 0), number(r, "/tie_rate", 3), number(r, "/position/consistency", 3),
                 number(r, "/position/first_rate", 3), number(r, "/length/longer_wins", 3),
                 number(r, "/length/spearman", 3)});
    }
  }
  if (table.empty()) return section("The judge", "<p class=\"missing\">Nothing has been judged yet.</p>"_html);
  if (!games) table.hide(7), table.hide(6);
  if (runs.size() == 1) table.hide(0);
  std::string words =
      "Rates are shares of 1. A judge without a taste for length lets the longer response win half of the "
      "decided pairs, with a rank correlation near 0; longer may still be better.";
  if (games) words += " It reads each pair in both orders: one half won by the response shown first is no bias.";
  return section("The judge", paragraph(words) + folded_when_long("What the judge said", table));
}

}  // namespace thinker::report
