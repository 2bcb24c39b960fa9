#include "tpo/stages/judge.h"

#include <algorithm>
#include <map>

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

namespace {

using PromptsById = std::map<std::string, const Prompt*>;

PromptsById by_id_of(const std::vector<Prompt>& prompts) {
  PromptsById by_id;
  for (const Prompt& p : prompts) by_id[p.id.value_or(Json()).dump()] = &p;
  return by_id;
}

/// Games that are asked for together: enough to keep a batch or several connections busy, few enough for progress.
constexpr size_t kGamesAtOnce = 512;

/// A sample that parsed, with what a judge may see of it.
struct Viewed {
  const SampleRecord* sample;
  JudgeView view;
};

std::vector<Viewed> views_of(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples) {
  const PromptsById by_id = by_id_of(prompts);
  std::vector<Viewed> list;
  for (const SampleRecord& s : samples) {
    if (!s.valid()) continue;
    const auto prompt = by_id.find(s.id.dump());
    if (prompt == by_id.end())
      fail("sample ", s.id.dump(), " belongs to no prompt; give the prompts it was drawn from");
    list.push_back({&s, make_judge_view(*prompt->second, s.split)});
  }
  return list;
}

}  // namespace

std::vector<JudgmentRecord> judge_samples(Judge& judge, const std::vector<Prompt>& prompts,
                                          const std::vector<SampleRecord>& samples, const Progress& progress) {
  std::vector<JudgmentRecord> records;
  std::vector<JudgeView> views;
  for (Viewed& v : views_of(prompts, samples)) {
    records.push_back({v.sample->id, v.sample->sample, v.view.to_json(), {}});
    views.push_back(std::move(v.view));
  }
  const auto total = static_cast<int64_t>(views.size());
  const auto report = [&](int64_t done) {
    if (progress) progress("judge", done, total);
  };
  report(0);
  std::vector<Judged> judged = judge.judge(views, report);
  report(total);
  ENSURE(judged.size() == views.size(), "the judge returned ", judged.size(), " results for ", views.size(), " views");
  for (size_t i = 0; i < records.size(); ++i) records[i].judged = std::move(judged[i]);
  if (!records.empty() && std::ranges::none_of(records, [](const auto& r) { return r.judged.score.has_value(); }))
    fail("the judge gave no score for any of ", records.size(), " outputs; the first reason, at prompt ",
         records[0].id.dump(), ": ", excerpt(records[0].judged.error, 300));
  return records;
}

ifeval::Accuracy ifeval_accuracy(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples) {
  ifeval::Accuracy accuracy;
  const PromptsById by_id = by_id_of(prompts);
  for (const SampleRecord& s : samples) {
    const auto prompt = by_id.find(s.id.dump());
    if (prompt == by_id.end() || !ifeval::is_ifeval(prompt->second->check)) continue;
    accuracy.add(prompt->second->check, s.valid() ? s.split.response : std::nullopt);
  }
  return accuracy;
}

std::vector<GameRecord> play_games(PairJudge& judge, const std::vector<Prompt>& prompts,
                                   const std::vector<SampleRecord>& samples, const Progress& progress) {
  using Order = GameRecord::Order;
  std::map<std::string, std::vector<Viewed>> by_prompt;
  std::vector<std::string> order;  // of the prompts
  for (Viewed& v : views_of(prompts, samples)) {
    std::vector<Viewed>& group = by_prompt[v.sample->id.dump()];
    if (group.empty()) order.push_back(v.sample->id.dump());
    group.push_back(std::move(v));
  }
  std::vector<GameRecord> games;
  std::vector<PairView> views;
  const auto play = [&](const Viewed& a, const Viewed& b, Order shown) {
    views.push_back(shown == Order::ab ? PairView(a.view, b.view) : PairView(b.view, a.view));
    games.push_back({a.sample->id, a.sample->sample, b.sample->sample, shown, views.back().to_json(), {}});
  };
  for (const std::string& id : order) {
    const std::vector<Viewed>& group = by_prompt[id];
    for (size_t i = 0; i < group.size(); ++i) {
      for (size_t j = i + 1; j < group.size(); ++j) {
        play(group[i], group[j], Order::ab);
        play(group[i], group[j], Order::ba);
      }
    }
  }
  const auto report = [&](int64_t done) {
    if (progress) progress("judge", done, static_cast<int64_t>(games.size()));
  };
  report(0);
  for (size_t begin = 0; begin < games.size(); begin += kGamesAtOnce) {
    const size_t n = std::min(kGamesAtOnce, games.size() - begin);
    std::vector<PairJudged> judged = judge.judge(std::span(views).subspan(begin, n),
                                                 [&](int64_t done) { report(static_cast<int64_t>(begin) + done); });
    ENSURE(judged.size() == n, "the judge returned ", judged.size(), " results for ", n, " views");
    for (size_t i = 0; i < n; ++i) games[begin + i].judged = std::move(judged[i]);
    report(static_cast<int64_t>(begin + n));
  }
  if (!games.empty() && std::ranges::none_of(games, [](const auto& g) { return g.judged.verdict.has_value(); }))
    fail("the judge gave no verdict in any of ", games.size(), " games; the first reason, at prompt ",
         games[0].id.dump(), ": ", excerpt(games[0].judged.error, 300));
  return games;
}

GameSummary summarise_games(const std::vector<GameRecord>& games) {
  GameSummary s;
  std::map<std::tuple<std::string, int64_t, int64_t>, std::vector<int>> pairs;
  for (const GameRecord& g : games) {
    ++s.games;
    if (!g.judged.verdict) {
      ++s.errors;
      continue;
    }
    s.ties += *g.judged.verdict == Verdict::tie;
    s.first_wins += *g.judged.verdict == Verdict::first;
    s.second_wins += *g.judged.verdict == Verdict::second;
    pairs[{g.id.dump(), g.a, g.b}].push_back(g.for_a());
  }
  for (const auto& [pair, verdicts] : pairs) {
    if (verdicts.size() != 2) continue;
    ++s.pairs;
    s.consistent += verdicts[0] == verdicts[1];
  }
  return s;
}

Json game_summary_to_json(const GameSummary& s) {
  const auto or_null = [](const std::optional<double>& x) { return x ? Json(*x) : Json(); };
  return {{"games", s.games},           {"errors", s.errors},           {"ties", s.ties},
          {"pairs", s.pairs},           {"consistent", s.consistent},   {"consistency", or_null(s.consistency())},
          {"first_wins", s.first_wins}, {"second_wins", s.second_wins}, {"first_rate", or_null(s.first_rate())}};
}

}  // namespace thinker
