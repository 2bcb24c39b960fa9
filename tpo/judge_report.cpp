#include "tpo/judge_report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "tensor/check.h"
#include "tpo/correlation.h"
#include "tpo/stages/judge.h"
#include "tpo/statistics.h"
#include "tpo/text.h"

namespace thinker {

namespace {

using Sample = std::pair<std::string, int64_t>;         // prompt, sample
using Two = std::tuple<std::string, int64_t, int64_t>;  // prompt, lower sample, higher sample

struct Opinions {
  std::map<Sample, double> scores;
  std::map<Sample, std::string> responses;  // as the judge saw them
  std::map<Two, int> pairs;                 // 1: the lower sample is better, -1: the higher, 0: a tie
};

int sign(double x) {
  return x > 0 ? 1 : x < 0 ? -1 : 0;
}

void take_scores(const std::vector<JudgmentRecord>& records, Opinions* opinions) {
  std::map<std::string, std::map<int64_t, double>> by_prompt;
  for (const JudgmentRecord& j : records) {
    const std::string id = j.id.dump();
    if (j.view.is_object() && j.view.contains("response") && j.view["response"].is_string())
      opinions->responses[{id, j.sample}] = j.view["response"];
    if (!j.judged.score) continue;
    opinions->scores[{id, j.sample}] = *j.judged.score;
    by_prompt[id][j.sample] = *j.judged.score;
  }
  for (const auto& [id, scores] : by_prompt)
    for (auto a = scores.begin(); a != scores.end(); ++a)
      for (auto b = std::next(a); b != scores.end(); ++b)
        opinions->pairs[{id, a->first, b->first}] = sign(a->second - b->second);
}

void take_games(const std::vector<GameRecord>& games, const ScoreRule& rule, Opinions* opinions) {
  std::map<Two, int> balance;
  for (const GameRecord& g : games) {
    const std::string id = g.id.dump();
    for (const int64_t sample : {g.a, g.b})
      if (const auto response = shown_response(g, sample)) opinions->responses[{id, sample}] = *response;
    if (g.judged.verdict) balance[{id, std::min(g.a, g.b), std::max(g.a, g.b)}] += g.a < g.b ? g.for_a() : -g.for_a();
  }
  for (const auto& [pair, sum] : balance) opinions->pairs[pair] = sign(sum);
  for (const JudgmentRecord& j : scores_of_games(games, rule))
    opinions->scores[{j.id.dump(), j.sample}] = *j.judged.score;
}

Opinions opinions_of(const Judgments& judgments, const ScoreRule& rule = {}) {
  Opinions opinions;
  if (judgments.games.empty())
    take_scores(judgments.scores, &opinions);
  else
    take_games(judgments.games, rule, &opinions);
  return opinions;
}

Json or_null(const std::optional<double>& x) {
  return x ? Json(*x) : Json(nullptr);
}

Json share(int64_t part, int64_t whole) {
  return whole == 0 ? Json(nullptr) : Json(static_cast<double>(part) / static_cast<double>(whole));
}

/// The mean over prompts of a correlation of two numbers of each sample, where it is defined; with the number of such
/// prompts.
template <class Correlation>
std::pair<std::optional<double>, int64_t> within_prompts(const std::map<Sample, std::pair<double, double>>& samples,
                                                         const Correlation& correlation) {
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> by_prompt;
  for (const auto& [sample, xy] : samples) {
    by_prompt[sample.first].first.push_back(xy.first);
    by_prompt[sample.first].second.push_back(xy.second);
  }
  std::vector<double> found;
  for (const auto& [id, xy] : by_prompt)
    if (const auto c = correlation(xy.first, xy.second)) found.push_back(*c);
  if (found.empty()) return {std::nullopt, 0};
  return {mean(found), static_cast<int64_t>(found.size())};
}

Json length_section(const Opinions& opinions) {
  const auto length = [&](const Sample& s) -> std::optional<double> {
    const auto found = opinions.responses.find(s);
    if (found == opinions.responses.end()) return std::nullopt;
    return static_cast<double>(count_code_points(found->second));
  };
  std::map<Sample, std::pair<double, double>> both;
  for (const auto& [sample, score] : opinions.scores)
    if (const auto n = length(sample)) both[sample] = {score, *n};
  int64_t decided = 0, longer = 0;
  for (const auto& [pair, verdict] : opinions.pairs) {
    const auto& [id, a, b] = pair;
    const auto la = length({id, a}), lb = length({id, b});
    if (verdict == 0 || !la || !lb || *la == *lb) continue;
    ++decided;
    longer += (verdict > 0) == (*la > *lb);
  }
  const auto [correlation, prompts] = within_prompts(both, spearman);
  return {{"spearman", or_null(correlation)},
          {"prompts", prompts},
          {"longer_wins", share(longer, decided)},
          {"decided", decided}};
}

std::string number(const Json& value, const char* format) {
  if (!value.is_number()) return "-";
  char text[40];
  std::snprintf(text, sizeof text, format, value.get<double>());
  return text;
}

}  // namespace

Json judge_report(const Judgments& judgments, const ScoreRule& rule) {
  const Opinions opinions = opinions_of(judgments, rule);
  const bool games = !judgments.games.empty();
  std::set<std::string> prompts;
  std::set<Sample> samples;
  int64_t errors = 0, ties = 0;
  for (const JudgmentRecord& j : judgments.scores) {
    samples.insert({j.id.dump(), j.sample});
    errors += !j.judged.score;
  }
  for (const GameRecord& g : judgments.games) {
    samples.insert({g.id.dump(), g.a});
    samples.insert({g.id.dump(), g.b});
    errors += !g.judged.verdict;
  }
  for (const Sample& s : samples) prompts.insert(s.first);
  for (const auto& [pair, verdict] : opinions.pairs) ties += verdict == 0;
  const auto judged = static_cast<int64_t>(games ? judgments.games.size() : judgments.scores.size());
  const auto pairs = static_cast<int64_t>(opinions.pairs.size());
  Json report{{"kind", games ? "games" : "scores"},
              {"prompts", prompts.size()},
              {"samples", samples.size()},
              {"judged", judged},
              {"errors", errors},
              {"failure_rate", share(errors, judged)},
              {"pairs", pairs},
              {"tie_rate", share(ties, pairs)},
              {"length", length_section(opinions)}};
  if (games) report["position"] = game_summary_to_json(summarise_games(judgments.games));
  return report;
}

Json judge_agreement(const Judgments& first, const Judgments& second) {
  const Opinions a = opinions_of(first), b = opinions_of(second);
  for (const auto& [sample, response] : a.responses) {
    const auto other = b.responses.find(sample);
    if (other != b.responses.end() && other->second != response)
      fail("sample ", sample.second, " of ", sample.first, " is \"", excerpt(response), "\" in one file and \"",
           excerpt(other->second), "\" in the other; compare judgments of the same samples");
  }
  std::vector<int> va, vb;
  int64_t same = 0, decided = 0, same_decided = 0;
  for (const auto& [pair, verdict] : a.pairs) {
    const auto other = b.pairs.find(pair);
    if (other == b.pairs.end()) continue;
    va.push_back(verdict);
    vb.push_back(other->second);
    same += verdict == other->second;
    if (verdict == 0 || other->second == 0) continue;
    ++decided;
    same_decided += verdict == other->second;
  }
  const auto pairs = static_cast<int64_t>(va.size());
  if (pairs == 0) fail("no two samples of a prompt were judged in both files; are the ids the same?");
  std::map<Sample, std::pair<double, double>> both;
  for (const auto& [sample, score] : a.scores)
    if (const auto other = b.scores.find(sample); other != b.scores.end()) both[sample] = {score, other->second};
  return {{"samples", both.size()},
          {"pairs", pairs},
          {"only_first", static_cast<int64_t>(a.pairs.size()) - pairs},
          {"only_second", static_cast<int64_t>(b.pairs.size()) - pairs},
          {"agreement", share(same, pairs)},
          {"decided", decided},
          {"agreement_decided", share(same_decided, decided)},
          {"kappa", or_null(cohen_kappa(va, vb))},
          {"kendall_tau", or_null(within_prompts(both, kendall_tau).first)},
          {"spearman", or_null(within_prompts(both, spearman).first)}};
}

std::string describe_report(const std::vector<std::string>& names, const std::vector<Json>& reports,
                            const Json& agreement) {
  std::string text;
  const auto row = [&](const char* label, const auto& cell) {
    char line[200];
    std::snprintf(line, sizeof line, "%-44s", label);
    text += line;
    for (const Json& r : reports) {
      std::snprintf(line, sizeof line, " %12s", cell(r).c_str());
      text += line;
    }
    text += "\n";
  };
  const auto at = [](const char* pointer, const char* format) {
    return [pointer, format](const Json& r) {
      const auto path = Json::json_pointer(pointer);
      return r.contains(path) ? number(r.at(path), format) : std::string("-");
    };
  };
  for (size_t i = 0; i < names.size(); ++i) text += concat("(", i + 1, ") ", names[i], "\n");
  row("", [&](const Json& r) { return concat("(", 1 + (&r - reports.data()), ")"); });
  row("judgments", at("/judged", "%.0f"));
  row("failed", at("/failure_rate", "%.3f"));
  row("pairs of samples", at("/pairs", "%.0f"));
  row("tied", at("/tie_rate", "%.3f"));
  row("the two orders agree", at("/position/consistency", "%.3f"));
  row("won by the response shown first (0.5: no bias)", at("/position/first_rate", "%.3f"));
  row("won by the longer response (0.5: no bias)", at("/length/longer_wins", "%.3f"));
  row("rank correlation of score with length", at("/length/spearman", "%.3f"));
  if (agreement.is_null()) return text;
  const auto value = [&](const char* key) { return number(agreement.at(key), "%.3f"); };
  text +=
      concat("(1) and (2) on ", agreement["pairs"].dump(), " pairs of samples: same opinion in ", value("agreement"),
             ", in ", value("agreement_decided"), " of those that neither ties; kappa ", value("kappa"),
             ", Kendall's tau ", value("kendall_tau"), ", Spearman's rho ", value("spearman"), "\n");
  return text;
}

}  // namespace thinker
