#include "tools/world/claims.h"

#include <algorithm>
#include <cstdio>

#include "tensor/check.h"
#include "tools/world/thoughts.h"
#include "tpo/parallel.h"
#include "tpo/text.h"

namespace thinker::world {

namespace {

using report::Arm;
using report::ArmPoint;
using report::at_begin;
using report::at_end;
using report::Difference;
using report::Evaluation;
using report::Measure;
using report::Measured;
using report::RunData;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[400];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string with_sign(const Measured& m) {
  return format("%+.3f [%+.3f, %+.3f]", m.mean, m.interval.low, m.interval.high);
}

std::optional<Measured> score(const Evaluation& e) {
  return report::score_of(e);
}
std::optional<Measured> thought_length(const Evaluation& e) {
  return e.thought_length;
}
std::optional<Measured> response_length(const Evaluation& e) {
  return e.response_length;
}
std::optional<Measured> parsed(const Evaluation& e) {
  return e.parsed;
}

/// A measure of the seed model in the arm's own style, and after the last iteration.
Measured first(const Arm& arm, const Measure& measure) {
  for (const ArmPoint& point : curve_of(arm, measure))
    if (point.stage == report::Stage::seed) return point.all;
  ENSURE(false, arm.label, " has an evaluation of the seed model");
}
Measured last(const Arm& arm, const Measure& measure) {
  const auto point = last_trained(arm, measure);
  ENSURE(point, arm.label, " has an evaluation after training");
  return point->all;
}

/// a - b, prompt by prompt, in every seed.
Difference difference(const Arm& a, const Arm& b, const report::When& when) {
  auto d = difference_of(a, b, when);
  ENSURE(d && d->seeds.size() == a.runs.size(), a.label, " and ", b.label, " were asked the same prompts");
  return std::move(*d);
}

/// "0.968 against 0.609, +0.359 [+0.340, +0.378]"
std::string compared(const Measured& ours, const Measured& theirs, const Measured& difference) {
  return format("%.3f against %.3f, ", ours.mean, theirs.mean) + with_sign(difference);
}

/// In how many seeds the difference's own interval lies above 0; below.
int64_t seeds_above(const Difference& d) {
  return std::count_if(d.seeds.begin(), d.seeds.end(), [](const Measured& m) { return m.interval.low > 0; });
}
int64_t seeds_below(const Difference& d) {
  return std::count_if(d.seeds.begin(), d.seeds.end(), [](const Measured& m) { return m.interval.high < 0; });
}

std::string in_seeds(int64_t count, const Difference& d) {
  return concat(", in ", count, " of ", d.seeds.size(), d.seeds.size() == 1 ? " seed" : " seeds");
}

Claim seed_is_worse(const Arm& thinking, const Arm& direct) {
  const Difference d = difference(thinking, direct, at_begin);
  const int64_t below = seeds_below(d);
  return {"a", Claim::Kind::set_up, below == static_cast<int64_t>(d.seeds.size()),
          concat("the seed model is worse when told to think: ",
                 compared(first(thinking, score), first(direct, score), d.all), in_seeds(below, d),
                 " (paper: 17.3 against 24.9). Its training data makes it so: answers after a useless thought are "
                 "spoilt more often")};
}

/// The first iteration at which thinking is ahead with its whole interval; -1: none.
int64_t crossing(const Arm& thinking, const Arm& direct) {
  const auto iterations = static_cast<int64_t>(thinking.runs.front()->iterations.size());
  for (int64_t t = 1; t <= iterations; ++t)
    if (const auto d = difference_of(thinking, direct, report::after(t)); d && d->all.interval.low > 0) return t;
  return -1;
}

Claim curves_cross(const Arm& thinking, const Arm& direct) {
  const Difference begin = difference(thinking, direct, at_begin), end = difference(thinking, direct, at_end);
  const int64_t above = seeds_above(end), crossed = crossing(thinking, direct);
  const std::string where = begin.all.mean >= 0 ? "the curves cross (thinking is ahead from the start)"
                            : crossed < 0       ? "the curves cross (at no iteration)"
                                                : concat("the curves cross at iteration ", crossed);
  return {"b", Claim::Kind::finding,
          begin.all.mean < 0 && crossed > 0 && above == static_cast<int64_t>(end.seeds.size()),
          concat(where, ", and TPO ends above the direct baseline: ",
                 compared(last(thinking, score), last(direct, score), end.all), in_seeds(above, end),
                 " (paper: 52.5 against 48.4)")};
}

Claim gain_is_where_it_should(const Arm& thinking, const Arm& direct) {
  const Difference gain = difference(thinking, direct, at_end);
  bool held = true;
  std::string helped, kept;
  for (int64_t c = 0; c < kCategories; ++c) {
    const auto category = static_cast<Category>(c);
    const Measured& m = gain.categories.at(name(category));
    held = held && (thinking_helps(category) ? m.interval.low > 0 : m.interval.high >= 0);
    std::string& list = thinking_helps(category) ? helped : kept;
    list += (list.empty() ? "" : ", ") + (name(category) + (" " + with_sign(m)));
  }
  return {"c", Claim::Kind::finding, held,
          concat("thinking helps where there are steps to follow: ", helped, "; elsewhere no loss is shown: ", kept)};
}

Claim lengths(const ArmsByName& arms) {
  const Arm& thinking = arms.at("thinking");
  const Measured before = first(thinking, thought_length), after = last(thinking, thought_length);
  const double change = before.mean > 0 ? 100 * (after.mean / before.mean - 1) : 0.0;
  std::string text = format("thoughts get shorter: %.1f -> %.1f characters, %+.0f %% (paper: -61 %% and -30 %%)",
                            before.mean, after.mean, change);
  bool held = after.interval.high < before.interval.low;
  if (const auto controlled = arms.find("thinking-rho"); controlled != arms.end()) {
    const Measured r0 = first(controlled->second, response_length), r1 = last(controlled->second, response_length);
    text += format("; with length control responses do not grow: %.2f -> %.2f characters", r0.mean, r1.mean);
    held = held && r1.interval.low <= r0.interval.high;
  }
  return {"d", Claim::Kind::finding, held, text};
}

Claim failures_fall(const Arm& thinking) {
  const Measured before = first(thinking, parsed), after = last(thinking, parsed);
  return {"e", Claim::Kind::finding, after.interval.low > before.interval.high,
          format("outputs that do not parse get fewer: %.1f %% [%.1f, %.1f] -> %.1f %% [%.1f, %.1f]", 100 - before.mean,
                 100 - before.interval.high, 100 - before.interval.low, 100 - after.mean, 100 - after.interval.high,
                 100 - after.interval.low)};
}

/// Whether a judge saw the user's own messages and what follows the marker in the model's output, and nothing else.
/// Cut here anew, not taken from what the run split.
bool is_clean(const JudgmentRecord& judgment, const Prompt& prompt, const SampleRecord& sample, bool thinks) {
  const std::string marker = thought_style().split;
  std::string_view response = sample.text;
  if (thinks) {
    const size_t at = response.find(marker);
    if (at == response.npos) return false;  // it should not have been judged at all
    response.remove_prefix(at + marker.size());
  }
  return judgment.view == Json{{"prompt", prompt_to_json(prompt).at("messages")}, {"response", trim(response)}};
}

/// How many views one iteration's judge was sent, and how many of them are not clean. Read from the file that the run
/// left; the report's data has no views.
std::pair<int64_t, int64_t> count_views(const RunData& run, const report::IterationData& iteration) {
  std::map<std::string, const Prompt*> prompts;
  for (const Prompt& p : iteration.prompts) prompts[p.id.value().dump()] = &p;
  std::map<std::pair<std::string, int64_t>, const SampleRecord*> samples;
  for (const SampleRecord& s : iteration.samples) samples[{s.id.dump(), s.sample}] = &s;
  int64_t views = 0, unclean = 0;
  for (const JudgmentRecord& j :
       read_judgments(concat(run.folder, "/iter-", iteration.iteration, "/judgments.jsonl"))) {
    ++views;
    unclean += !is_clean(j, *prompts.at(j.id.dump()), *samples.at({j.id.dump(), j.sample}), run.thinks);
  }
  return {views, unclean};
}

Claim judge_saw_no_thought(const ArmsByName& arms) {
  std::vector<std::pair<const RunData*, const report::IterationData*>> judged;
  for (const auto& [name, arm] : arms)
    for (const RunData* run : arm.runs)
      for (const report::IterationData& iteration : run->iterations) judged.emplace_back(run, &iteration);
  int64_t views = 0, unclean = 0;
  const auto count = [&](int64_t i) { return count_views(*judged[i].first, *judged[i].second); };
  for (const auto& [sent, wrong] : parallel_map(static_cast<int64_t>(judged.size()), count)) {
    views += sent;
    unclean += wrong;
  }
  return {"f", Claim::Kind::finding, views > 0 && unclean == 0,
          concat("the judge never saw a thought: of ", views, " views stored as they were sent, ", unclean,
                 " hold anything but the user's messages and what follows the marker")};
}

Claim useless_thoughts_do_not_help(const Arm& useless, const Arm& direct) {
  const Difference d = difference(useless, direct, at_end);
  return {"g", Claim::Kind::finding, d.all.interval.low <= 0 && seeds_above(d) == 0,
          concat("where the seed knows useless thoughts only (W = 0), thinking does not pass direct: ",
                 compared(last(useless, score), last(direct, score), d.all), ", above in ", seeds_above(d), " of ",
                 d.seeds.size(), " seeds")};
}

}  // namespace

std::vector<Claim> check_claims(const ArmsByName& arms) {
  const Arm &thinking = arms.at("thinking"), &direct = arms.at("direct");
  std::vector<Claim> claims = {seed_is_worse(thinking, direct),
                               curves_cross(thinking, direct),
                               gain_is_where_it_should(thinking, direct),
                               lengths(arms),
                               failures_fall(thinking),
                               judge_saw_no_thought(arms)};
  if (arms.contains("useless"))
    claims.push_back(useless_thoughts_do_not_help(arms.at("useless"), arms.at("useless-direct")));
  return claims;
}

}  // namespace thinker::world
