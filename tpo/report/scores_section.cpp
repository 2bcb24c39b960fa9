// The answer: the score by iteration (the paper's Figure 3), by category (Figure 4), and differences on the same
// prompts.
#include <algorithm>
#include <functional>
#include <set>

#include "tensor/check.h"
#include "tpo/report/sections.h"

namespace thinker::report {

namespace {

/// The score of one category.
Measure score_in(const std::string& category) {
  return [category](const Evaluation& e) -> std::optional<Measured> {
    const auto found = e.categories.find(category);
    return found == e.categories.end() ? std::nullopt : std::optional(found->second);
  };
}

std::optional<ArmPoint> first_of(const Arm& arm, const Measure& measure) {
  for (const ArmPoint& p : curve_of(arm, measure))
    if (p.stage == Stage::seed) return p;
  return std::nullopt;
}

std::set<std::string> categories_of(const Runs& runs) {
  std::set<std::string> names;
  for (const RunData& run : runs)
    for (const Evaluation& e : run.evaluations)
      for (const auto& [category, m] : e.categories) names.insert(category);
  return names;
}

/// Scores of a pairwise judge are won games.
std::string score_title(const Runs& runs) {
  const Json judge = runs.front().recipe.value(Json::json_pointer("/judge/kind"), Json());
  return judge == "pairwise" ? "win rate against the seed's direct answers" : "mean score";
}

}  // namespace

size_t baseline_of(const std::vector<Arm>& arms) {
  for (size_t i = 0; i < arms.size(); ++i)
    if (!arms[i].thinks()) return i;
  return 0;
}

std::string signed_interval(const Measured& d, int decimals) {
  return (d.mean >= 0 ? "+" : "") + with_interval(d, decimals);
}

std::string verdict(const Measured& d) {
  constexpr int64_t kFew = 10;  // of so few prompts a bootstrap draws intervals that are far too narrow
  if (d.count < kFew) return "too few prompts to tell";
  if (d.interval.low > 0) return "higher";
  if (d.interval.high < 0) return "lower";
  return "not told apart";
}

Table curve_table(const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  const int decimals = score_decimals(runs);
  std::vector<std::string> headers{"model"};
  std::map<std::pair<Stage, int64_t>, std::vector<std::string>> rows;
  for (size_t a = 0; a < arms.size(); ++a) {
    headers.push_back(arms.size() > 1 ? arms[a].label : "score [95 % interval]");
    for (const ArmPoint& p : curve_of(arms[a], score_of)) {
      auto& cells = rows[{p.stage, p.iteration}];
      cells.resize(arms.size() + 1, "-");
      cells[0] = p.stage == Stage::seed ? "seed" : p.name;
      cells[a + 1] = with_interval(p.all, decimals);
    }
  }
  Table table(headers);
  for (auto& [key, cells] : rows) table.row(std::move(cells));
  return table;
}

Table difference_table(const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  const int decimals = score_decimals(runs);
  Table table({"this", "minus this", "difference [95 % interval]", "each seed", "better / same / worse", "verdict"}, 2);
  const auto add = [&](const std::string& left, const std::string& right, const Difference& d) {
    std::string seeds;
    for (const Measured& m : d.seeds) seeds += (seeds.empty() ? "" : ", ") + fixed(m.mean, decimals);
    table.row({left, right, signed_interval(d.all, decimals), seeds,
               concat(d.wins.wins, " / ", d.wins.ties, " / ", d.wins.losses), verdict(d.all)});
  };
  const size_t base = baseline_of(arms);
  for (size_t i = 0; i < arms.size(); ++i) {
    if (i == base) continue;
    if (const auto d = difference_of(arms[i], arms[base], at_begin))
      add(arms[i].label + ", seed", arms[base].label + ", seed", *d);
    if (const auto d = difference_of(arms[i], arms[base], at_end))
      add(arms[i].label + ", at the end", arms[base].label + ", at the end", *d);
  }
  for (const Arm& arm : arms) {
    for (Stage stage : {Stage::seed, Stage::warmup, Stage::seed_direct}) {
      if (const auto d = gain_of(arm, stage))
        add(named(arms, arm) + "at the end", named(arms, arm) + stage_name(*arm.runs.front(), stage), *d);
    }
  }
  bool seeds = false;
  for (const Arm& arm : arms) seeds |= arm.runs.size() > 1;
  if (!seeds) table.hide(3);
  return table;
}

Table win_table(const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  Table table({"this", "against", "win rate [95 % interval]", "at equal lengths [95 % interval]"}, 2);
  const size_t base = baseline_of(arms);
  for (size_t i = 0; i < arms.size(); ++i) {
    if (i == base) continue;
    if (const auto rates = win_rates_of(arms[i], arms[base], at_end))
      table.row(
          {arms[i].label, arms[base].label, with_interval(rates->raw, 3), with_interval(rates->equal_lengths, 3)});
  }
  return table;
}

Table category_table(const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  const int decimals = score_decimals(runs);
  std::vector<std::string> headers{"category"};
  for (const Arm& arm : arms) {
    const std::string who = named(arms, arm);
    headers.insert(headers.end(), {who + "seed", who + "at the end"});
  }
  headers.push_back("outputs, each");
  Table table(headers);
  for (const std::string& category : categories_of(runs)) {
    std::vector<std::string> cells{category_label(category)};
    std::vector<std::string> counts;  // of arms; once where they agree
    for (const Arm& arm : arms) {
      int64_t count = 0;
      for (const auto& point : {first_of(arm, score_in(category)), last_trained(arm, score_in(category))}) {
        cells.push_back(point ? with_interval(point->all, decimals) : "-");
        if (point) count = std::max(count, point->all.count);
      }
      counts.push_back(std::to_string(count));
    }
    if (std::ranges::adjacent_find(counts, std::not_equal_to()) == counts.end()) counts.resize(1);
    std::string list;
    for (const std::string& count : counts) list += (list.empty() ? "" : ", ") + count;
    cells.push_back(list);
    table.row(std::move(cells));
  }
  return table;
}

Html scores_section(const Runs& runs) {
  const Table curve = curve_table(runs);
  if (curve.empty())
    return section("Scores", "<p class=\"missing\">No model has been evaluated on held-out prompts yet.</p>"_html);
  const bool seeds = arms_of(runs).size() < runs.size();
  Html inner = paragraph(
      "Held-out prompts, one sampled answer to each. An output that still did not parse after the allowed attempts "
      "counts as 0 (or the judge's lowest); an answer that the judge gave no score is left out. Where all answers "
      "scored the same an interval has no width; that does not mean that no answer would score otherwise.");
  inner +=
      paragraph(seeds ? "Thick lines are means over an arm's seeds, thin lines the single seeds. Bands and square "
                        "brackets are 95 % intervals: Student's t over the seeds, or where that is narrower, what the "
                        "choice of prompts leaves open."
                      : "Square brackets and bands are 95 % bootstrap intervals over the prompts. They do not cover "
                        "that a training with another seed ends elsewhere.");
  const LineChart chart = by_iteration(runs, "Score by iteration", score_title(runs), score_of);
  Html charts = element(
      "div", {{"class", "wide"}},
      figure("Score by iteration", line_chart(chart), measure_table(runs, "score", score_of, score_decimals(runs))));
  Html below;
  const Table differences = difference_table(runs);
  if (!differences.empty())
    below =
        paragraph(
            "Differences are taken prompt by prompt, so that what makes a prompt hard for both sides does not count:") +
        differences.html();
  const Table wins = win_table(runs);
  if (!wins.empty())
    below +=
        paragraph(
            "Win rates at the end: the share of prompts on which the judge scored the first arm's response higher, "
            "ties counting one half; and what a logistic model makes of it for responses of equal length.") +
        wins.html();
  return section("Score by iteration", inner + figures(charts + curve.html()) + below);
}

Html category_section(const Runs& runs) {
  const std::set<std::string> names = categories_of(runs);
  if (names.empty())
    return section("Categories", "<p class=\"missing\">No evaluation to divide into categories yet.</p>"_html);
  const std::vector<Arm> arms = arms_of(runs);
  BarChart scores{"Score by category", score_title(runs), {}, {}};
  for (size_t a = 0; a < arms.size(); ++a) {
    const std::string who = named(arms, arms[a]);
    scores.kinds.push_back({who + "seed", a, Fill::hollow});
    scores.kinds.push_back({who + "at the end", a, Fill::solid});
  }
  const size_t base = baseline_of(arms);
  BarChart gains{
      "Difference to " + arms[base].label + " by category", "difference of the mean scores at the end", {}, {}};
  std::vector<std::string> headers{"category"};
  std::vector<Difference> differences;
  for (size_t a = 0; a < arms.size(); ++a) {
    if (a == base) continue;
    if (auto d = difference_of(arms[a], arms[base], at_end)) {
      differences.push_back(std::move(*d));
      gains.kinds.push_back({arms[a].label, a, Fill::solid});
      headers.push_back(arms[a].label);
    }
  }
  Table gain_table(headers);
  for (const std::string& category : names) {
    const std::string label = category_label(category);
    BarGroup group{label, {}}, gain{label, {}};
    std::vector<std::string> cells{label};
    for (const Arm& arm : arms)
      for (const auto& p : {first_of(arm, score_in(category)), last_trained(arm, score_in(category))})
        group.bars.push_back(p ? std::optional(Bar{p->all.mean, p->all.interval}) : std::nullopt);
    for (const Difference& d : differences) {
      const auto found = d.categories.find(category);
      const bool there = found != d.categories.end();
      gain.bars.push_back(there ? std::optional(Bar{found->second.mean, found->second.interval}) : std::nullopt);
      cells.push_back(there ? signed_interval(found->second, score_decimals(runs)) : "-");
    }
    scores.groups.push_back(std::move(group));
    gains.groups.push_back(std::move(gain));
    gain_table.row(std::move(cells));
  }
  Html charts = figure("Score by category", bar_chart(scores), category_table(runs).html());
  if (!differences.empty())
    charts += figure(concat("At the end, minus ", arms[base].label, ", on the same prompts"), bar_chart(gains),
                     gain_table.html());
  return section("Categories",
                 paragraph("Hollow: the seed model. Filled: after the last iteration.") + figures(charts));
}

}  // namespace thinker::report
