#include "tools/world/kinds.h"

#include <algorithm>
#include <map>

#include "tensor/check.h"
#include "tools/world/thoughts.h"
#include "tpo/report/html.h"

namespace thinker::world {

namespace {

using report::RunData;

ThoughtKind kind_behind(const SampleRecord& s) {
  return kind_of(s.split.thought.value_or(""));
}

struct Count {
  int64_t sampled = 0, chosen = 0, rejected = 0;
  int64_t judged = 0;
  double score = 0;  // sum over the judged
};
using Counts = std::map<ThoughtKind, Count>;

/// One iteration of one seed.
void add(Counts* counts, const report::IterationData& data) {
  std::map<std::pair<std::string, int64_t>, ThoughtKind> kinds;
  for (const SampleRecord& s : data.samples) {
    const ThoughtKind kind = kind_behind(s);
    kinds[{s.id.dump(), s.sample}] = kind;
    ++(*counts)[kind].sampled;
  }
  for (const JudgmentRecord& j : data.judgments) {
    if (!j.judged.score) continue;
    Count& count = (*counts)[kinds.at({j.id.dump(), j.sample})];
    ++count.judged;
    count.score += *j.judged.score;
  }
  for (const report::PairLine& pair : data.pairs) {
    ++(*counts)[kinds.at({pair.id.dump(), pair.chosen_sample})].chosen;
    ++(*counts)[kinds.at({pair.id.dump(), pair.rejected_sample})].rejected;
  }
}

std::string share(int64_t part, int64_t whole) {
  return whole == 0 ? "-" : report::fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1);
}

void add_rows(Exhibit* exhibit, int64_t iteration, Counts counts) {
  Count all;
  for (const auto& [kind, count] : counts)
    all.sampled += count.sampled, all.chosen += count.chosen, all.rejected += count.rejected;
  for (ThoughtKind kind : kThoughtKinds) {
    const Count& c = counts[kind];
    exhibit->rows.push_back({concat("iteration ", iteration, ", ", name(kind)), share(c.sampled, all.sampled),
                             share(c.chosen, all.chosen), share(c.rejected, all.rejected),
                             c.judged == 0 ? "-" : report::fixed(c.score / static_cast<double>(c.judged), 3)});
  }
}

/// A kind's share of the thoughts to the held-out prompts, in percent: the seed model, then by iteration.
Exhibit::Line line_of(const report::Arm& arm, ThoughtKind kind) {
  Exhibit::Line line{name(kind), {}};
  const auto iterations = static_cast<int64_t>(arm.runs.front()->iterations.size());
  for (int64_t t = 0; t <= iterations; ++t) {
    int64_t of_kind = 0, all = 0;
    for (const RunData* run : arm.runs) {
      const report::Evaluation* e = t == 0 ? at_begin(*run) : report::after(t)(*run);
      if (!e) continue;
      all += static_cast<int64_t>(e->records.size());
      of_kind += std::count_if(e->records.begin(), e->records.end(),
                               [&](const EvalRecord& r) { return kind_behind(r.sample) == kind; });
    }
    line.values.push_back(all == 0 ? 0.0 : 100.0 * static_cast<double>(of_kind) / static_cast<double>(all));
  }
  return line;
}

}  // namespace

Exhibit kinds_of_thought(const report::Arm& arm) {
  Exhibit exhibit;
  exhibit.title = "Which thoughts were kept";
  exhibit.words =
      "Kinds are told by form alone. Worked: a solution step by step, right or wrong. Draft: the answer written once "
      "before. Doubt: two answers and no decision. Ramble: sentences that fit any task. Other: none of these, or "
      "an output that did not parse. The judge saw none of them; a kind is kept when the responses behind it score "
      "well. The chart is of held-out prompts, the "
      "table of the training samples: of all that were sampled, of the chosen and of the rejected sides of pairs.";
  exhibit.y_title = "% of thoughts";
  for (ThoughtKind kind : kThoughtKinds) exhibit.lines.push_back(line_of(arm, kind));
  exhibit.headers = {"kind of thought", "% of sampled", "% of chosen", "% of rejected", "mean score"};
  std::map<int64_t, Counts> iterations;
  for (const RunData* run : arm.runs)
    for (const report::IterationData& data : run->iterations) add(&iterations[data.iteration], data);
  for (const auto& [t, counts] : iterations) add_rows(&exhibit, t, counts);
  return exhibit;
}

}  // namespace thinker::world
