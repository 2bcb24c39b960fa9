#include "tools/world/claims.h"

#include <algorithm>
#include <cstdio>
#include <functional>

#include "tensor/check.h"
#include "tools/world/thoughts.h"
#include "tpo/text.h"

namespace thinker::world {

namespace {

using report::Evaluation;
using report::Measured;
using report::RunData;

using Values = std::vector<double>;  // one a prompt
using Value = std::function<double(const EvalRecord&)>;
using Keep = std::function<bool(const EvalRecord&)>;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[400];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string with_sign(const Measured& m) {
  return format("%+.3f [%+.3f, %+.3f]", m.mean, m.interval.low, m.interval.high);
}

double score(const EvalRecord& r) {
  return r.judged.score.value_or(0.0);
}
bool all(const EvalRecord&) {
  return true;
}
bool parsed(const EvalRecord& r) {
  return r.sample.valid();
}

/// The model before training in the arm's own style, and after the last iteration.
const Evaluation& first(const RunData& run) {
  const Evaluation* seed = run.find(report::Stage::seed);
  ENSURE(seed, run.folder, " has an evaluation of the seed model");
  return *seed;
}
const Evaluation& last(const RunData& run) {
  const Evaluation* trained = run.last_trained();
  ENSURE(trained, run.folder, " has an evaluation after training");
  return *trained;
}

Values values(const Evaluation& e, const Value& value, const Keep& keep = all) {
  Values list;
  for (const EvalRecord& r : e.records)
    if (keep(r)) list.push_back(value(r));
  return list;
}

/// a - b, prompt by prompt: every arm of a seed has the same prompts in the same order.
report::PairedScores difference(const Evaluation& a, const Evaluation& b) {
  ENSURE(a.records.size() == b.records.size(), a.file, " and ", b.file, " have the same prompts");
  for (size_t i = 0; i < a.records.size(); ++i)
    ENSURE(a.records[i].sample.id == b.records[i].sample.id, a.file, " and ", b.file, " have the same prompts");
  return {a, b};
}

/// Over the prompts of all seeds.
Measured pooled(const std::vector<SeedRuns>& seeds, const std::function<Values(const SeedRuns&)>& of) {
  Values list;
  for (const SeedRuns& runs : seeds) {
    const Values more = of(runs);
    list.insert(list.end(), more.begin(), more.end());
  }
  return report::measure(list, 1);
}

const RunData& arm(const SeedRuns& runs, const char* name) {
  return runs.at(name);
}

Measured mean_score(const std::vector<SeedRuns>& seeds, const char* name, const Evaluation& (*at)(const RunData&)) {
  return pooled(seeds, [&](const SeedRuns& runs) { return values(at(arm(runs, name)), score); });
}

/// "0.968 against 0.609, +0.359 [+0.340, +0.378]"
std::string compared(const Measured& ours, const Measured& theirs, const Measured& difference) {
  return format("%.3f against %.3f, ", ours.mean, theirs.mean) + with_sign(difference);
}

/// In how many seeds the difference's interval lies above 0 (direction 1) or below (-1).
int64_t seeds_apart(const std::vector<SeedRuns>& seeds, int direction,
                    const std::function<Values(const SeedRuns&)>& difference) {
  return std::count_if(seeds.begin(), seeds.end(), [&](const SeedRuns& runs) {
    const Measured m = report::measure(difference(runs), 1);
    return direction > 0 ? m.interval.low > 0 : m.interval.high < 0;
  });
}

Claim seed_is_worse(const std::vector<SeedRuns>& seeds) {
  const auto of = [](const SeedRuns& runs) {
    return difference(first(arm(runs, "thinking")), first(arm(runs, "direct"))).all;
  };
  const int64_t apart = seeds_apart(seeds, -1, of);
  const std::string numbers =
      compared(mean_score(seeds, "thinking", first), mean_score(seeds, "direct", first), pooled(seeds, of));
  return {
      "a", Claim::Kind::set_up, apart == static_cast<int64_t>(seeds.size()),
      concat("the seed model is worse when told to think: ", numbers, ", in ", apart, " of ", seeds.size(),
             " seeds (paper: 17.3 against 24.9). Its training data makes it so: answers after a useless thought are "
             "spoilt more often")};
}

/// The first iteration at which thinking is ahead with its whole interval; -1: none.
int64_t crossing(const std::vector<SeedRuns>& seeds) {
  const auto iterations = static_cast<int64_t>(arm(seeds.front(), "thinking").iterations.size());
  for (int64_t t = 1; t <= iterations; ++t) {
    const Measured ahead = pooled(seeds, [&](const SeedRuns& runs) {
      const Evaluation* ours = arm(runs, "thinking").find(report::Stage::iteration, t);
      const Evaluation* theirs = arm(runs, "direct").find(report::Stage::iteration, t);
      return ours && theirs ? difference(*ours, *theirs).all : Values{};
    });
    if (ahead.count > 0 && ahead.interval.low > 0) return t;
  }
  return -1;
}

report::PairedScores gain(const SeedRuns& runs) {
  return difference(last(arm(runs, "thinking")), last(arm(runs, "direct")));
}

Claim curves_cross(const std::vector<SeedRuns>& seeds) {
  const auto of = [](const SeedRuns& runs) { return gain(runs).all; };
  const int64_t apart = seeds_apart(seeds, 1, of), crossed = crossing(seeds);
  const Measured start = pooled(seeds, [](const SeedRuns& runs) {
    return difference(first(arm(runs, "thinking")), first(arm(runs, "direct"))).all;
  });
  const std::string numbers =
      compared(mean_score(seeds, "thinking", last), mean_score(seeds, "direct", last), pooled(seeds, of));
  const std::string where = crossed < 0 ? "the curves do not cross" : concat("the curves cross at iteration ", crossed);
  return {"b", Claim::Kind::finding, start.mean < 0 && crossed > 0 && apart == static_cast<int64_t>(seeds.size()),
          concat(where, ", and TPO ends above the direct baseline: ", numbers, ", in ", apart, " of ", seeds.size(),
                 " seeds (paper: 52.5 against 48.4)")};
}

Claim gain_is_where_it_should(const std::vector<SeedRuns>& seeds) {
  bool held = true;
  std::string helped, kept;
  for (int64_t c = 0; c < kCategories; ++c) {
    const auto category = static_cast<Category>(c);
    const Measured m = pooled(seeds, [&](const SeedRuns& runs) { return gain(runs).categories.at(name(category)); });
    held = held && (thinking_helps(category) ? m.interval.low > 0 : m.interval.high >= 0);
    std::string& list = thinking_helps(category) ? helped : kept;
    list += (list.empty() ? "" : ", ") + (name(category) + (" " + with_sign(m)));
  }
  return {"c", Claim::Kind::finding, held,
          concat("thinking helps where there are steps to follow: ", helped, "; and loses nothing elsewhere: ", kept)};
}

double thought_length(const EvalRecord& r) {
  return static_cast<double>(count_code_points(r.sample.split.thought.value_or("")));
}
double response_length(const EvalRecord& r) {
  return static_cast<double>(count_code_points(r.sample.split.response.value_or("")));
}

Claim lengths(const std::vector<SeedRuns>& seeds) {
  const auto mean = [&](const char* name, const Evaluation& (*at)(const RunData&), const Value& value) {
    return pooled(seeds, [&](const SeedRuns& runs) { return values(at(arm(runs, name)), value, parsed); });
  };
  const Measured before = mean("thinking", first, thought_length), after = mean("thinking", last, thought_length);
  std::string text = format("thoughts get shorter: %.1f -> %.1f characters, %+.0f %% (paper: -61 %% and -30 %%)",
                            before.mean, after.mean, 100 * (after.mean / before.mean - 1));
  bool held = after.interval.high < before.interval.low;
  if (seeds.front().contains("thinking-rho")) {
    const Measured r0 = mean("thinking-rho", first, response_length), r1 = mean("thinking-rho", last, response_length);
    text += format("; with length control responses do not grow: %.2f -> %.2f characters", r0.mean, r1.mean);
    held = held && r1.interval.low <= r0.interval.high;
  }
  return {"d", Claim::Kind::finding, held, text};
}

Claim failures_fall(const std::vector<SeedRuns>& seeds) {
  const auto failed = [](const EvalRecord& r) { return r.first_parse == Parse::ok ? 0.0 : 1.0; };
  const auto rate = [&](const Evaluation& (*at)(const RunData&)) {
    return pooled(seeds, [&](const SeedRuns& runs) { return values(at(arm(runs, "thinking")), failed); });
  };
  const Measured before = rate(first), after = rate(last);
  return {"e", Claim::Kind::finding, after.interval.high < before.interval.low,
          format("outputs that do not parse get fewer: %.1f %% -> %.1f %%", 100 * before.mean, 100 * after.mean)};
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

Claim judge_saw_no_thought(const std::vector<SeedRuns>& seeds) {
  int64_t views = 0, unclean = 0;
  for (const SeedRuns& runs : seeds) {
    for (const auto& [name, run] : runs) {
      for (const report::IterationData& iteration : run.iterations) {
        const auto [sent, wrong] = count_views(run, iteration);
        views += sent;
        unclean += wrong;
      }
    }
  }
  return {"f", Claim::Kind::finding, views > 0 && unclean == 0,
          concat("the judge never saw a thought: of ", views, " views stored as they were sent, ", unclean,
                 " hold anything but the user's messages and what follows the marker")};
}

Claim useless_thoughts_do_not_help(const std::vector<SeedRuns>& seeds) {
  const Measured m = pooled(seeds, [](const SeedRuns& runs) {
    return difference(last(arm(runs, "useless")), last(arm(runs, "useless-direct"))).all;
  });
  return {"g", Claim::Kind::finding, m.interval.low <= 0,
          concat("where the seed knows useless thoughts only (W = 0), thinking does not pass direct: ",
                 compared(mean_score(seeds, "useless", last), mean_score(seeds, "useless-direct", last), m))};
}

}  // namespace

report::Measured mean_score(const std::vector<SeedRuns>& seeds, const std::string& arm, int64_t iteration) {
  return pooled(seeds, [&](const SeedRuns& runs) {
    const RunData& run = runs.at(arm);
    const Evaluation* e = iteration == 0 ? &first(run) : run.find(report::Stage::iteration, iteration);
    ENSURE(e, run.folder, " has an evaluation of iteration ", iteration);
    return values(*e, score);
  });
}

std::vector<Claim> check_claims(const std::vector<SeedRuns>& seeds) {
  std::vector<Claim> claims = {seed_is_worse(seeds), curves_cross(seeds),  gain_is_where_it_should(seeds),
                               lengths(seeds),       failures_fall(seeds), judge_saw_no_thought(seeds)};
  if (seeds.front().contains("useless")) claims.push_back(useless_thoughts_do_not_help(seeds));
  return claims;
}

}  // namespace thinker::world
