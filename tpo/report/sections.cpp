#include "tpo/report/sections.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tensor/check.h"
#include "tpo/report/svg.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

std::string signed_interval(const Measured& d, int decimals) {
  return (d.mean >= 0 ? "+" : "") + with_interval(d, decimals);
}

/// "by 0.12 … more", or that it cannot be told.
std::string verdict(const Measured& d) {
  if (d.interval.low > 0) return "higher";
  if (d.interval.high < 0) return "lower";
  return "not told apart";
}

const Evaluation* best_baseline(const RunData& run) {
  if (const Evaluation* direct = run.find(Stage::seed_direct)) return direct;
  return run.find(Stage::seed);
}

/// "thought, iteration 4, against direct, iteration 4".
struct Comparison {
  std::string left, right;
  Measured difference;
};

/// Each run's end against its beginnings, and against the other runs' ends.
std::vector<Comparison> comparisons(const Runs& runs) {
  std::vector<Comparison> all;
  const auto add = [&](const RunData& a, const Evaluation& x, const RunData& b, const Evaluation& y) {
    const Measured d = paired_difference(x, y, a.seed);
    if (d.count > 0) all.push_back({a.name + ", " + stage_name(a, x), b.name + ", " + stage_name(b, y), d});
  };
  for (size_t i = 0; i < runs.size(); ++i) {
    const Evaluation* mine = runs[i].last_trained();
    for (size_t j = i + 1; j < runs.size(); ++j) {
      const Evaluation* theirs = runs[j].last_trained();
      if (runs[i].find(Stage::seed) && runs[j].find(Stage::seed)) {
        add(runs[i], *runs[i].find(Stage::seed), runs[j], *runs[j].find(Stage::seed));
      }
      if (mine && theirs) add(runs[i], *mine, runs[j], *theirs);
    }
    if (!mine) continue;
    for (Stage stage : {Stage::seed, Stage::warmup, Stage::seed_direct}) {
      if (const Evaluation* before = runs[i].find(stage)) add(runs[i], *mine, runs[i], *before);
    }
  }
  return all;
}

/// Where an evaluation stands on the axis of iterations. The warm-up, where a run has one, comes between 0 and 1.
struct IterationAxis {
  bool warmup = false;
  int64_t last = 0;

  explicit IterationAxis(const Runs& runs) {
    for (const RunData& run : runs) {
      warmup |= run.find(Stage::warmup) != nullptr;
      for (const Evaluation& e : run.evaluations) last = std::max(last, e.iteration);
    }
  }
  double at(const Evaluation& e) const {
    if (e.stage == Stage::warmup) return 1;
    return static_cast<double>(e.iteration + (warmup && e.iteration > 0 ? 1 : 0));
  }
  std::vector<Tick> ticks() const {
    std::vector<Tick> all{{0, "0"}};
    if (warmup) all.push_back({1, "warm-up"});
    const int64_t every = 1 + last / 12;
    for (int64_t t = every; t <= last; t += every) all.push_back({static_cast<double>(t + warmup), std::to_string(t)});
    return all;
  }
};

/// A measurement by iteration, one line a run; the seed without a thought prompt is a point of its own where no run on
/// the page is the direct one.
template <class Measure>
LineChart by_iteration(const Runs& runs, const std::string& title, const std::string& y_title, const Measure& measure) {
  const IterationAxis axis(runs);
  LineChart chart{title, "iteration (0: the model as it comes)", y_title, axis.ticks(), {}, {}};
  const bool has_direct = std::any_of(runs.begin(), runs.end(), [](const RunData& r) { return !r.thinks; });
  for (const RunData& run : runs) {
    std::vector<Point> line, direct;
    for (const Evaluation& e : run.evaluations) {
      const std::optional<Measured> m = measure(e);
      if (!m) continue;
      const Point p{axis.at(e), m->mean, m->interval,
                    concat(run.name, ", ", stage_name(run, e), ": ", with_interval(*m, 3))};
      (e.stage == Stage::seed_direct ? direct : line).push_back(p);
    }
    chart.series.push_back({run.name, {line}});
    if (!direct.empty() && !has_direct) chart.series.push_back({run.name + ": seed, direct", {direct}});
  }
  return chart;
}

template <class Measure>
Html measure_table(const Runs& runs, const std::string& header, const Measure& measure, int decimals) {
  Table table({"run", "model", header + " [95 % interval]", "outputs"}, 2);
  for (const RunData& run : runs) {
    for (const Evaluation& e : run.evaluations) {
      const std::optional<Measured> m = measure(e);
      table.row(
          {run.name, stage_name(run, e), m ? with_interval(*m, decimals) : "-", m ? std::to_string(m->count) : "0"});
    }
  }
  return table.html();
}

}  // namespace

Html section(const char* heading, const Html& inner) {
  return element("section", element("h2", text(heading)) + inner) + "\n"_html;
}

Html paragraph(const std::string& data) {
  return element("p", text(data)) + "\n"_html;
}

Html figure(const std::string& caption, const Html& chart, const Html& table) {
  const Html numbers = table.empty() ? Html() : element("details", "<summary>Numbers</summary>"_html + table);
  return element("figure", element("figcaption", text(caption)) + chart + numbers) + "\n"_html;
}

Html figures(const Html& inner) {
  return element("div", {{"class", "figures"}}, inner);
}

Measured score_of(const Evaluation& e) {
  return {e.summary.score, e.summary.interval, e.summary.prompts - e.summary.unjudged};
}

int score_decimals(const Runs& runs) {
  double most = 0;
  for (const RunData& run : runs)
    for (const Evaluation& e : run.evaluations) most = std::max(most, std::abs(e.summary.score));
  return most <= 1 ? 3 : most <= 10 ? 2 : 1;
}

std::string with_interval(const Measured& value, int decimals) {
  return fixed(value.mean, decimals) + " [" + fixed(value.interval.low, decimals) + ", " +
         fixed(value.interval.high, decimals) + "]";
}

Html summary_section(const Runs& runs) {
  const int decimals = score_decimals(runs);
  Html inner;
  for (const RunData& run : runs) {
    const Evaluation *before = best_baseline(run), *after = run.last_trained();
    if (!after) {
      inner += paragraph(run.name + ": no trained model has been evaluated yet.");
      continue;
    }
    std::string line = concat(run.name, ": mean score ", with_interval(score_of(*after), decimals), " after ",
                              stage_name(run, *after));
    if (before)
      line += concat(", ", fixed(score_of(*before).mean, decimals), " before (", stage_name(run, *before), ")");
    inner += paragraph(line + concat(", on ", after->summary.prompts, " held-out prompts."));
  }
  if (runs.size() == 2 && runs[0].last_trained() && runs[1].last_trained()) {
    const Evaluation &a = *runs[0].last_trained(), &b = *runs[1].last_trained();
    const Measured d = paired_difference(a, b, runs[0].seed);
    if (d.count > 0) {
      inner +=
          paragraph(concat("At the end ", runs[0].name, " minus ", runs[1].name, " is ", signed_interval(d, decimals),
                           " on the ", d.count, " prompts that both answered: ", verdict(d), "."));
    }
    if (a.iteration != b.iteration) inner += paragraph("The two runs did not train for the same number of iterations.");
  }
  Html gaps;
  for (const RunData& run : runs)
    for (const std::string& what : run.missing) gaps += element("li", text(run.name + ": " + what));
  if (!gaps.empty()) inner += "<p>What is not there:</p>"_html + element("ul", {{"class", "missing"}}, gaps);
  inner += paragraph(
      "Square brackets are 95 % bootstrap intervals over the held-out prompts. They cover the choice of prompts and "
      "one "
      "sampled answer to each; they do not cover that a training with another seed ends elsewhere.");
  return section("In short", inner);
}

Html scores_section(const Runs& runs) {
  const int decimals = score_decimals(runs);
  Table table({"run", "model", "score [95 % interval]", "prompts", "parsed at once", "no score"}, 2);
  for (const RunData& run : runs) {
    for (const Evaluation& e : run.evaluations) {
      const EvalSummary& s = e.summary;
      table.row({run.name, stage_name(run, e), with_interval(score_of(e), decimals), std::to_string(s.prompts),
                 percent(s.parse_rate), std::to_string(s.unjudged)});
    }
  }
  if (table.empty())
    return section("Scores", "<p class=\"missing\">No model has been evaluated on held-out prompts yet.</p>"_html);
  Html inner = paragraph(
                   "Mean judge score on the held-out prompts, one sampled answer to each. An output that still did not "
                   "parse after the "
                   "allowed attempts counts as 0; an answer that the judge gave no score is left out and counted.") +
               table.html();
  const auto score = [](const Evaluation& e) { return std::optional(score_of(e)); };
  Html charts = figure("Score by iteration", line_chart(by_iteration(runs, "Score by iteration", "mean score", score)),
                       measure_table(runs, "score", score, decimals));
  Table differences({"this", "minus this", "difference [95 % interval]", "prompts", "verdict"}, 2);
  for (const Comparison& c : comparisons(runs)) {
    differences.row({c.left, c.right, signed_interval(c.difference, decimals), std::to_string(c.difference.count),
                     verdict(c.difference)});
  }
  if (!differences.empty()) {
    charts +=
        element("div", paragraph("Differences on the same prompts, which are known better than either score alone:") +
                           differences.html());
  }
  return section("Scores", inner + figures(charts));
}

Html category_section(const Runs& runs) {
  std::set<std::string> names;
  BarChart chart{"Score by category", "mean score", {}, {}};
  std::vector<const Evaluation*> shown;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Evaluation *before = runs[i].find(Stage::seed), *after = runs[i].last_trained();
    for (const Evaluation* e : {before, after}) {
      if (!e) continue;
      shown.push_back(e);
      chart.kinds.push_back(
          {runs[i].name + ", " + stage_name(runs[i], *e), i, e == before ? Fill::hollow : Fill::solid});
      for (const auto& [category, m] : e->categories) names.insert(category);
    }
  }
  if (names.empty())
    return section("Categories", "<p class=\"missing\">No evaluation to divide into categories yet.</p>"_html);
  std::vector<std::string> headers{"category"};
  for (const BarKind& kind : chart.kinds) headers.push_back(kind.name), headers.push_back("prompts");
  Table table(headers);
  for (const std::string& category : names) {
    const std::string label = category.empty() ? "(no category)" : excerpt(category, 48);
    BarGroup group{label, {}};
    std::vector<std::string> cells{label};
    for (const Evaluation* e : shown) {
      const auto found = e->categories.find(category);
      const bool there = found != e->categories.end();
      group.bars.push_back(there ? std::optional(Bar{found->second.mean, found->second.interval}) : std::nullopt);
      cells.push_back(there ? with_interval(found->second, score_decimals(runs)) : "-");
      cells.push_back(there ? std::to_string(found->second.count) : "0");
    }
    chart.groups.push_back(std::move(group));
    table.row(std::move(cells));
  }
  return section(
      "Categories",
      paragraph("Held-out score for each kind of prompt: hollow before training, filled after the last iteration.") +
          figures(figure("Score by category", bar_chart(chart), table.html())));
}

Html length_section(const Runs& runs) {
  const auto thought = [](const Evaluation& e) {
    return e.thought_length.count ? std::optional(e.thought_length) : std::nullopt;
  };
  const auto response = [](const Evaluation& e) {
    return e.response_length.count ? std::optional(e.response_length) : std::nullopt;
  };
  const Html charts =
      figure("Thought length", line_chart(by_iteration(runs, "Thought length by iteration", "characters", thought)),
             measure_table(runs, "characters", thought, 1)) +
      figure("Response length", line_chart(by_iteration(runs, "Response length by iteration", "characters", response)),
             measure_table(runs, "characters", response, 1));
  return section("Lengths",
                 paragraph("Mean length in Unicode characters, of held-out outputs that parsed.") + figures(charts));
}

Html parse_section(const Runs& runs) {
  const auto rate = [](const Evaluation& e) {
    std::vector<double> parsed;
    for (const EvalRecord& r : e.records) parsed.push_back(r.sample.valid() && r.attempts == 1 ? 100.0 : 0.0);
    return parsed.empty() ? std::nullopt : std::optional(measure(parsed, 0));
  };
  Html inner = paragraph(
      "How many outputs follow the format, so that thought and response can be told apart. An output without a clear "
      "response is never judged and never chosen.");
  Html charts = figure("Held-out outputs that parse at the first attempt",
                       line_chart(by_iteration(runs, "Parse rate by iteration", "% of outputs", rate)),
                       measure_table(runs, "%", rate, 1));
  static const Parse kReasons[] = {
      Parse::ok, Parse::no_open, Parse::no_marker, Parse::empty_response, Parse::repeated_marker, Parse::no_end};
  Table table({"run", "iteration", "samples", "ok", "no opening marker", "no response marker", "empty response",
               "marker again", "cut off"});
  for (const RunData& run : runs) {
    for (const IterationData& data : run.iterations) {
      std::vector<std::string> cells{run.name, std::to_string(data.iteration), std::to_string(data.samples.size())};
      for (Parse reason : kReasons) {
        const auto count = std::count_if(data.samples.begin(), data.samples.end(),
                                         [&](const auto& s) { return s.split.parse == reason; });
        cells.push_back(std::to_string(count));
      }
      table.row(std::move(cells));
    }
  }
  if (!table.empty())
    charts += element("div", paragraph("Training samples, by what the splitter said:") + table.html());
  return section("Format", inner + figures(charts));
}

Html pairs_section(const Runs& runs) {
  Table table({"run", "iteration", "prompts", "pairs", "of these with a failed output", "too few valid samples",
               "all scores equal", "equal texts", "chosen not better", "rho", "chosen length", "rejected length"});
  for (const RunData& run : runs) {
    for (const IterationData& data : run.iterations) {
      if (!data.pairing) continue;
      const PairCounts& c = data.pairing->counts;
      table.row({run.name, std::to_string(data.iteration), std::to_string(c.prompts), std::to_string(c.pairs),
                 std::to_string(c.failure_pairs), std::to_string(c.too_few_valid), std::to_string(c.equal_scores),
                 std::to_string(c.equal_texts), std::to_string(c.not_better), fixed(data.pairing->rho, 2),
                 fixed(data.pairing->mean_chosen_length, 1), fixed(data.pairing->mean_rejected_length, 1)});
    }
  }
  if (table.empty()) return section("Pairs", "<p class=\"missing\">No pairs have been built yet.</p>"_html);
  return section(
      "Pairs",
      paragraph(
          "Each prompt gives at most one pair: its best sample against its worst. The columns after the pairs say why "
          "the "
          "other prompts gave none. Lengths are means over the responses of both sides, in the unit of the recipe.") +
          table.html());
}

}  // namespace thinker::report
