#include "tpo/report/arms.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/check.h"
#include "tpo/parallel.h"
#include "tpo/stages/compare.h"

namespace thinker::report {

namespace {

/// True when a prompt's id means the same prompt in both runs.
bool same_prompts(const RunData& a, const RunData& b) {
  if (a.held_out.empty() || b.held_out.empty()) return a.seed == b.seed;
  if (a.held_out.size() != b.held_out.size()) return false;
  for (size_t i = 0; i < a.held_out.size(); ++i)
    if (a.held_out[i].id != b.held_out[i].id ||
        messages_to_json(a.held_out[i].messages) != messages_to_json(b.held_out[i].messages))
      return false;
  return true;
}

/// True when both runs' scores are one judge's. How long it is waited for, and its cache, change none.
bool same_judge(const RunData& a, const RunData& b) {
  const auto judge_of = [](const RunData& run) {
    Json judge = run.recipe.is_object() ? run.recipe.value("judge", Json()) : Json();
    for (const char* key : {"timeout_s", "retries", "cache"})
      if (judge.is_object()) judge.erase(key);
    return judge;
  };
  return judge_of(a) == judge_of(b);
}

/// Why the scores of two runs cannot be compared, in words; empty where they can.
std::string why_not_compared(const RunData& a, const RunData& b) {
  if (a.seed != b.seed) return "their seeds differ";
  if (!same_judge(a, b)) return "their judges differ";
  return same_prompts(a, b) ? "" : "their held-out prompts differ";
}

/// Calls use(ours, theirs, seed) for the evaluations of two arms' runs that are of the same prompts and judge.
template <class Use>
void for_matched_runs(const Arm& a, const Arm& b, const When& when, const Use& use) {
  for (const RunData* x : a.runs) {
    for (const RunData* y : b.runs) {
      const Evaluation *ours = when(*x), *theirs = when(*y);
      if (!ours || !theirs || !why_not_compared(*x, *y).empty()) continue;
      use(*ours, *theirs, x->seed);
      break;
    }
  }
}

class DifferenceOfSeeds {
 public:
  void add(const Evaluation& ours, const Evaluation& theirs, uint64_t seed) {
    const PairedScores pairs(ours, theirs);
    if (pairs.all.empty()) return;
    difference_.seeds.push_back(measure(pairs.all, seed));
    for (double value : pairs.all) difference_.wins.add(value, 0);
    for (const auto& [category, values] : pairs.categories) categories_[category].push_back(measure(values, seed));
  }
  std::optional<Difference> all() {
    if (difference_.seeds.empty()) return std::nullopt;
    difference_.all = over_seeds(difference_.seeds);
    for (const auto& [category, seeds] : categories_) difference_.categories[category] = over_seeds(seeds);
    return difference_;
  }

 private:
  Difference difference_;
  std::map<std::string, std::vector<Measured>> categories_;
};

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
  double at(Stage stage, int64_t iteration) const {
    if (stage == Stage::warmup) return 1;
    return static_cast<double>(iteration + (warmup && iteration > 0 ? 1 : 0));
  }
  std::vector<Tick> ticks() const {
    std::vector<Tick> all{{0, "0"}};
    if (warmup) all.push_back({1, "warm-up"});
    const int64_t every = 1 + last / 12;
    for (int64_t t = every; t <= last; t += every) all.push_back({static_cast<double>(t + warmup), std::to_string(t)});
    return all;
  }
};

}  // namespace

Runs read_runs(const Experiment& experiment) {
  struct Place {
    size_t arm, run;
  };
  std::vector<Place> places;
  for (size_t a = 0; a < experiment.arms.size(); ++a)
    for (size_t r = 0; r < experiment.arms[a].runs.size(); ++r) places.push_back({a, r});
  const auto read = [&](const Place& place) {
    const ExperimentArm& arm = experiment.arms[place.arm];
    RunData run = read_run(arm.runs[place.run]);
    run.arm = place.arm;
    run.name = run.arm_label = arm.label;
    if (arm.runs.size() > 1) run.name += concat(", seed ", run.seed);
    return run;
  };
  return parallel_map(static_cast<int64_t>(places.size()), [&](int64_t i) { return read(places[i]); });
}

std::vector<Arm> arms_of(const Runs& runs) {
  std::vector<Arm> arms;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i == 0 || runs[i].arm != runs[i - 1].arm) arms.push_back({runs[i].arm_label, {}});
    arms.back().runs.push_back(&runs[i]);
  }
  return arms;
}

std::string named(const std::vector<Arm>& arms, const Arm& arm) {
  return arms.size() > 1 ? arm.label + ", " : "";
}

double student_t(int64_t degrees) {
  static constexpr std::array<double, 10> kExact{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  ENSURE(degrees >= 1, "Student's t of ", degrees, " degrees of freedom");
  if (degrees <= static_cast<int64_t>(kExact.size())) return kExact[static_cast<size_t>(degrees - 1)];
  const auto n = static_cast<double>(degrees);  // Cornish and Fisher's expansion around the normal distribution
  return 1.959964 + 2.372 / n + 2.822 / (n * n);
}

Measured over_seeds(const std::vector<Measured>& seeds) {
  ENSURE(!seeds.empty(), "a mean over no seeds");
  if (seeds.size() == 1) return seeds.front();
  const auto n = static_cast<double>(seeds.size());
  std::vector<double> means;
  double below = 0, above = 0;
  Measured all;
  all.range = seeds.front().range;
  for (const Measured& m : seeds) {
    all.range = {std::min(all.range.low, m.range.low), std::max(all.range.high, m.range.high)};
    means.push_back(m.mean);
    below += (m.mean - m.interval.low) * (m.mean - m.interval.low);
    above += (m.interval.high - m.mean) * (m.interval.high - m.mean);
    all.count += m.count;
  }
  const double half = student_t(static_cast<int64_t>(seeds.size()) - 1) * sample_sd(means) / std::sqrt(n);
  all.mean = mean(means);
  all.interval = {all.mean - std::max(half, std::sqrt(below) / n), all.mean + std::max(half, std::sqrt(above) / n)};
  all.interval = {std::max(all.interval.low, std::min(all.range.low, all.mean)),
                  std::min(all.interval.high, std::max(all.range.high, all.mean))};
  return all;
}

std::optional<Measured> score_of(const Evaluation& e) {
  if (!e.summary.scored()) return std::nullopt;
  return Measured{e.summary.score, e.summary.interval, e.summary.prompts - e.summary.unjudged, e.range};
}

std::vector<ArmPoint> curve_of(const Arm& arm, const Measure& measure) {
  std::map<std::pair<Stage, int64_t>, ArmPoint> points;
  for (const RunData* run : arm.runs) {
    for (const Evaluation& e : run->evaluations) {
      const std::optional<Measured> m = measure(e);
      if (!m) continue;
      ArmPoint& point = points[{e.stage, e.iteration}];
      point.stage = e.stage;
      point.iteration = e.iteration;
      point.name = stage_name(*run, e);
      point.seeds.push_back(*m);
    }
  }
  std::vector<ArmPoint> curve;
  for (auto& [key, point] : points) {
    point.all = over_seeds(point.seeds);
    curve.push_back(std::move(point));
  }
  return curve;
}

std::optional<ArmPoint> last_trained(const Arm& arm, const Measure& measure) {
  std::vector<ArmPoint> curve = curve_of(arm, measure);
  if (curve.empty() || curve.back().stage != Stage::iteration) return std::nullopt;
  return std::move(curve.back());
}

const Evaluation* at_begin(const RunData& run) {
  return run.find(Stage::seed);
}

const Evaluation* at_end(const RunData& run) {
  return run.last_trained();
}

When after(int64_t iteration) {
  return [iteration](const RunData& run) { return run.find(Stage::iteration, iteration); };
}

std::optional<Difference> difference_of(const Arm& a, const Arm& b, const When& when) {
  DifferenceOfSeeds sum;
  for_matched_runs(a, b, when, [&](const Evaluation& ours, const Evaluation& theirs, uint64_t seed) {
    sum.add(ours, theirs, seed);
  });
  return sum.all();
}

std::string why_not_compared(const Arm& a, const Arm& b) {
  std::string why = "their seeds differ";
  for (const RunData* x : a.runs)
    for (const RunData* y : b.runs) {
      const std::string of_pair = why_not_compared(*x, *y);
      if (of_pair.empty()) return "";
      if (x->seed == y->seed) why = of_pair;
    }
  return why;
}

std::optional<WinRates> win_rates_of(const Arm& a, const Arm& b, const When& when) {
  std::vector<Measured> raw, equal_lengths;
  for_matched_runs(a, b, when, [&](const Evaluation& ours, const Evaluation& theirs, uint64_t seed) {
    const auto same = [](const EvalRecord& x, const EvalRecord& y) { return x.sample.id == y.sample.id; };
    if (!std::equal(ours.records.begin(), ours.records.end(), theirs.records.begin(), theirs.records.end(), same))
      return;
    const WinSummary s = summarise_wins(contests_of(ours.records, theirs.records, WinBy::higher_score), seed);
    if (s.games == 0) return;
    raw.push_back({s.rate, s.interval, s.games, {0, 1}});
    equal_lengths.push_back({s.length.win_rate(), s.length_interval, s.games, {0, 1}});
  });
  if (raw.empty()) return std::nullopt;
  return WinRates{over_seeds(raw), over_seeds(equal_lengths)};
}

std::optional<Difference> gain_of(const Arm& arm, Stage before) {
  DifferenceOfSeeds sum;
  for (const RunData* run : arm.runs) {
    const Evaluation *end = run->last_trained(), *begin = run->find(before);
    if (end && begin) sum.add(*end, *begin, run->seed);
  }
  return sum.all();
}

LineChart by_iteration(const Runs& runs, const std::string& title, const std::string& y_title, const Measure& measure) {
  const IterationAxis axis(runs);
  LineChart chart{title, "iteration (0: the model as it comes)", y_title, axis.ticks(), {}, {}};
  const bool has_direct = std::any_of(runs.begin(), runs.end(), [](const RunData& r) { return !r.thinks; });
  const std::vector<Arm> arms = arms_of(runs);
  for (const Arm& arm : arms) {
    std::vector<Point> line, direct;
    for (const ArmPoint& p : curve_of(arm, measure)) {
      const double x = axis.at(p.stage, p.iteration);
      (p.stage == Stage::seed_direct ? direct : line)
          .push_back({x, p.all.mean, p.all.interval, concat(arm.label, ", ", p.name, ": ", with_interval(p.all, 3))});
    }
    Series series{arm.label, {line}, {}};
    for (const RunData* run : arm.runs) {
      std::vector<Point> thin;
      for (const Evaluation& e : run->evaluations)
        if (const auto m = measure(e); m && arm.runs.size() > 1 && e.stage != Stage::seed_direct)
          thin.push_back({axis.at(e.stage, e.iteration), m->mean, std::nullopt, ""});
      series.thin.push_back(std::move(thin));
    }
    chart.series.push_back(std::move(series));
    if (!direct.empty() && !has_direct) chart.series.push_back({named(arms, arm) + "seed, direct", {direct}, {}});
  }
  return chart;
}

}  // namespace thinker::report
