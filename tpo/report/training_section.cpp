// The training log: loss, margin and both log-probs by step.
#include <algorithm>

#include "tensor/check.h"
#include "tpo/report/sections.h"
#include "tpo/report/svg.h"

namespace thinker::report {

namespace {

/// More points than this an iteration are averaged: a chart of 350 units shows no more.
constexpr size_t kPoints = 40;

/// Consecutive steps of one iteration as one point.
struct Bin {
  int64_t first = 0, last = 0;  // steps
  TrainStep mean;
};

std::vector<Bin> bins(const std::vector<TrainStep>& steps) {
  std::vector<Bin> all;
  const size_t width = (steps.size() + kPoints - 1) / kPoints;
  for (size_t begin = 0; begin < steps.size(); begin += width) {
    const size_t end = std::min(steps.size(), begin + width);
    Bin bin{steps[begin].step, steps[end - 1].step, {}};
    const auto n = static_cast<double>(end - begin);
    for (size_t i = begin; i < end; ++i) {
      bin.mean.loss += steps[i].loss / n;
      bin.mean.margin += steps[i].margin / n;
      bin.mean.logp_chosen += steps[i].logp_chosen / n;
      bin.mean.logp_rejected += steps[i].logp_rejected / n;
      bin.mean.accuracy += steps[i].accuracy / n;
    }
    all.push_back(bin);
  }
  return all;
}

/// A quantity of the steps, the iterations one after another.
Series series_of(const RunData& run, const std::string& name, double TrainStep::*quantity) {
  Series series{name, {}, {}};
  double offset = 0;
  for (const IterationData& data : run.iterations) {
    std::vector<Point> piece;
    for (const Bin& bin : bins(data.steps)) {
      const double middle = 0.5 * static_cast<double>(bin.first + bin.last);
      piece.push_back({offset + middle, bin.mean.*quantity, std::nullopt, ""});
    }
    if (!data.steps.empty()) offset += static_cast<double>(data.steps.back().step);
    series.pieces.push_back(std::move(piece));
  }
  return series;
}

LineChart chart_of(const RunData& run, const std::string& title, const std::string& y_title,
                   std::vector<Series> series) {
  LineChart chart{title, "optimizer step, iterations one after another", y_title, {}, {}, std::move(series)};
  double offset = 0;
  for (const IterationData& data : run.iterations) {
    if (data.steps.empty()) continue;
    if (offset > 0) chart.x_rules.push_back(offset + 0.5);
    offset += static_cast<double>(data.steps.back().step);
  }
  return chart;
}

Html step_table(const RunData& run) {
  Table table({"iteration", "steps", "loss", "margin", "log-prob, chosen", "log-prob, rejected", "accuracy"}, 0);
  for (const IterationData& data : run.iterations) {
    for (const Bin& bin : bins(data.steps)) {
      const std::string steps = bin.first == bin.last ? std::to_string(bin.first) : concat(bin.first, "-", bin.last);
      table.row({std::to_string(data.iteration), steps, fixed(bin.mean.loss, 4), fixed(bin.mean.margin, 4),
                 fixed(bin.mean.logp_chosen, 2), fixed(bin.mean.logp_rejected, 2), percent(bin.mean.accuracy)});
    }
  }
  return element("details", "<summary>Numbers</summary>"_html + table.html());
}

Html selection_table(const RunData& run) {
  Table table({"iteration", "epoch", "score on the selection prompts [95 % interval]"}, 0);
  for (const IterationData& data : run.iterations) {
    for (const Selection& s : data.selections) {
      table.row({std::to_string(data.iteration), std::to_string(s.epoch), with_interval({s.score, s.interval, 0}, 3)});
    }
  }
  if (table.empty()) return {};
  return element(
      "details",
      "<summary>Which epoch was kept: the one with the best score, the first of equals</summary>"_html + table.html());
}

/// Each run's training at a glance: the mean of an iteration's first and last tenth of steps.
Html end_table(const Runs& runs) {
  Table table({"run", "iteration", "steps", "loss, first tenth", "loss, last tenth", "margin, last",
               "log-prob chosen, last", "log-prob rejected, last", "accuracy, last"});
  const auto mean_of = [](const std::vector<TrainStep>& steps, size_t begin, size_t end, double TrainStep::*quantity) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += steps[i].*quantity;
    return sum / static_cast<double>(end - begin);
  };
  for (const RunData& run : runs) {
    for (const IterationData& data : run.iterations) {
      if (data.steps.empty()) continue;
      const size_t n = data.steps.size(), tenth = std::max<size_t>(1, n / 10);
      const auto last = [&](double TrainStep::*quantity) { return mean_of(data.steps, n - tenth, n, quantity); };
      table.row({run.name, std::to_string(data.iteration), std::to_string(n),
                 fixed(mean_of(data.steps, 0, tenth, &TrainStep::loss), 4), fixed(last(&TrainStep::loss), 4),
                 fixed(last(&TrainStep::margin), 3), fixed(last(&TrainStep::logp_chosen), 2),
                 fixed(last(&TrainStep::logp_rejected), 2), percent(last(&TrainStep::accuracy))});
    }
  }
  if (table.empty()) return {};
  if (runs.size() == 1) table.hide(0);
  return folded_when_long("Each iteration's beginning and end", table);
}

}  // namespace

Html training_section(const Runs& runs) {
  Html inner = paragraph(
      "Preference training, step by step, each value from before the step's update. The margin is beta times how much "
      "more the "
      "policy than the reference prefers the chosen output. Log-probs are sums over an output's tokens, in nats, "
      "averaged over "
      "the step's pairs: when both fall, the model only unlearns the rejected.");
  const std::vector<Arm> arms = arms_of(runs);
  inner += end_table(runs);
  for (const Arm& arm : arms) {
    const RunData& run = *arm.runs.front();  // other seeds: in the table above
    if (runs.size() > 1) inner += element("h3", text(run.name));
    if (run.warmup) {
      std::string line =
          concat("Warm-up of the format: ", run.warmup->kept, " of ", run.warmup->samples, " forced samples were kept");
      const auto& losses = run.warmup->losses;
      if (!losses.empty())
        line += concat("; the loss went from ", fixed(losses.front(), 3), " to ", fixed(losses.back(), 3), " in ",
                       losses.size(), " steps");
      inner += paragraph(line + ".");
    }
    const bool any =
        std::any_of(run.iterations.begin(), run.iterations.end(), [](const auto& d) { return !d.steps.empty(); });
    if (!any) {
      inner += "<p class=\"missing\">No preference training in the log yet.</p>"_html;
      continue;
    }
    inner += figures(
        figure("Loss", line_chart(chart_of(run, "Loss", "loss", {series_of(run, "loss", &TrainStep::loss)})), {}) +
        figure("Margin", line_chart(chart_of(run, "Margin", "margin", {series_of(run, "margin", &TrainStep::margin)})),
               {}) +
        figure("Log-probs",
               line_chart(chart_of(run, "Log-probs", "nats",
                                   {series_of(run, "chosen", &TrainStep::logp_chosen),
                                    series_of(run, "rejected", &TrainStep::logp_rejected)})),
               {}));
    inner += step_table(run) + selection_table(run);
  }
  return section("Training", inner);
}

}  // namespace thinker::report
