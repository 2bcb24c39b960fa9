#include "tpo/samples.h"

#include <algorithm>
#include <map>
#include <set>

#include "tensor/check.h"
#include "tpo/bradley_terry.h"
#include "tpo/prompt_formats.h"

namespace thinker {

namespace {

Json or_null(const std::optional<std::string>& text) {
  return text ? Json(*text) : Json(nullptr);
}

std::optional<std::string> optional_string(const JsonLine& line, const std::string& key) {
  if (!line.has(key)) return std::nullopt;
  return line.string(key);
}

Json required_id(const JsonLine& line) {
  if (auto id = line.id()) return *id;
  line.error("\"id\" is missing");
}

Parse required_parse(const JsonLine& line) {
  const std::string word = line.string("parse");
  try {
    return parse_from_name(word);
  } catch (const Error& e) {
    line.error("\"parse\": " + std::string(e.what()));
  }
}

}  // namespace

std::vector<std::pair<int64_t, int64_t>> parse_runs(const JsonLine& line, const std::string& key, size_t length) {
  const auto refuse = [&] { line.error("\"" + key + "\" is not a list of [begin, end] within the tokens, in order"); };
  std::vector<std::pair<int64_t, int64_t>> runs;
  int64_t last = 0;
  if (!line.at(key).is_array()) refuse();
  for (const Json& run : line.at(key)) {
    const bool two = run.is_array() && run.size() == 2 && run[0].is_number_integer() && run[1].is_number_integer();
    if (two) runs.emplace_back(run[0].get<int64_t>(), run[1].get<int64_t>());
    if (!two || runs.back().first < last || runs.back().second < runs.back().first ||
        runs.back().second > static_cast<int64_t>(length)) {
      refuse();
    }
    last = runs.back().second;
  }
  return runs;
}

Json sample_to_json(const SampleRecord& s) {
  Json line{{"id", s.id},
            {"sample", s.sample},
            {"prompt_ids", s.prompt_ids},
            {"ids", s.ids},
            {"logprobs", s.logprobs},
            {"text", s.text},
            {"thought", or_null(s.split.thought)},
            {"response", or_null(s.split.response)},
            {"parse", name(s.split.parse)},
            {"stop", s.stop == Stop::end ? "end" : "length"}};
  if (!s.forced.empty()) line["forced"] = s.forced;
  return line;
}

SampleRecord parse_sample(const JsonLine& line) {
  SampleRecord s;
  s.id = required_id(line);
  s.sample = line.integer("sample");
  s.prompt_ids = line.ids("prompt_ids");
  s.ids = line.ids("ids");
  for (double x : line.numbers("logprobs")) s.logprobs.push_back(static_cast<float>(x));
  if (s.logprobs.size() != s.ids.size()) line.error("\"logprobs\" and \"ids\" differ in length");
  s.text = line.string("text");
  s.split.thought = optional_string(line, "thought");
  s.split.response = optional_string(line, "response");
  s.split.parse = required_parse(line);
  if (s.valid() && !s.split.response) line.error("\"parse\" is ok but \"response\" is null");
  const std::string stop = line.string("stop");
  if (stop != "end" && stop != "length") line.error("\"stop\" is neither end nor length");
  s.stop = stop == "end" ? Stop::end : Stop::length;
  if (line.has("forced")) s.forced = parse_runs(line, "forced", s.ids.size());
  return s;
}

std::vector<SampleRecord> read_samples(const std::string& path) {
  return read_jsonl_as(path, parse_sample);
}

Json judgment_to_json(const JudgmentRecord& j) {
  Json line{{"id", j.id}, {"sample", j.sample}, {"view", j.view}, {"answer", j.judged.answer}};
  if (j.judged.score)
    line["score"] = *j.judged.score;
  else
    line["error"] = j.judged.error;
  return line;
}

JudgmentRecord parse_judgment(const JsonLine& line) {
  JudgmentRecord j;
  j.id = required_id(line);
  j.sample = line.integer("sample");
  j.view = line.at("view");
  if (line.has("answer")) j.judged.answer = line.string("answer");
  if (line.has("score"))
    j.judged.score = line.number("score");
  else if (line.has("error"))
    j.judged.error = line.string("error");
  else
    line.error("has neither a \"score\" (a number) nor an \"error\" (a text); a judgment has one of them");
  return j;
}

Json game_to_json(const GameRecord& g) {
  Json line{{"id", g.id},
            {"a", g.a},
            {"b", g.b},
            {"order", g.order == GameRecord::Order::ab ? "ab" : "ba"},
            {"view", g.view}};
  line.update(verdict_to_json(g.judged));
  if (g.judged.verdict) line["verdict"] = g.for_a();
  return line;
}

GameRecord parse_game(const JsonLine& line) {
  GameRecord g;
  g.id = required_id(line);
  g.a = line.integer("a");
  g.b = line.integer("b");
  if (g.a == g.b) line.error("\"a\" and \"b\" are the same sample");
  const std::string order = line.string("order");
  if (order != "ab" && order != "ba") line.error("\"order\" is neither ab nor ba");
  g.order = order == "ab" ? GameRecord::Order::ab : GameRecord::Order::ba;
  g.view = line.at("view");
  g.judged = parse_verdict(line);
  if (g.judged.verdict) g.judged.verdict = static_cast<Verdict>(g.for_a());  // the same turn goes both ways
  if (g.a > g.b) {  // the same game by the names that the pair's other game has, so that the two are one pair
    std::swap(g.a, g.b);
    g.order = g.order == GameRecord::Order::ab ? GameRecord::Order::ba : GameRecord::Order::ab;
  }
  return g;
}

std::optional<std::string> shown_response(const GameRecord& game, int64_t sample) {
  const bool first = (sample == game.a) == (game.order == GameRecord::Order::ab);
  if (!game.view.is_object() || !game.view.contains("responses")) return std::nullopt;
  const Json& shown = game.view["responses"];
  if (!shown.is_array() || shown.size() != 2 || !shown[first ? 0 : 1].is_string()) return std::nullopt;
  return shown[first ? 0 : 1].get<std::string>();
}

Judgments read_judgment_file(const std::string& path) {
  Judgments all;
  std::set<std::string> seen;
  const auto once = [&](const JsonLine& line, const std::string& which) {
    if (!seen.insert(which).second) line.error("this sample, or pair of samples in this order, is judged twice");
  };
  for (const JsonLine& line : read_jsonl(path)) {
    if (line.has("order")) {
      const GameRecord& g = all.games.emplace_back(parse_game(line));
      once(line, concat(g.id.dump(), " ", g.a, " ", g.b, g.order == GameRecord::Order::ab ? " ab" : " ba"));
    } else {
      const JudgmentRecord& j = all.scores.emplace_back(parse_judgment(line));
      once(line, concat(j.id.dump(), " ", j.sample));
    }
    if (!all.games.empty() && !all.scores.empty()) line.error("the file mixes scores and games");
  }
  return all;
}

namespace {

/// The games of one prompt among its samples.
class Tournament {
 public:
  void add(const GameRecord& game) {
    auto& [ab, ba] = pairs_[{player(game, game.a), player(game, game.b)}];
    (game.order == GameRecord::Order::ab ? ab : ba).push_back(game.for_a());
  }

  std::vector<double> scores(const ScoreRule& rule) const {
    const auto k = static_cast<int64_t>(players_.size());
    std::vector<double> wins(k * k, 0.0), points(k, 0.0), played(k, 0.0);
    for (const auto& [pair, orders] : pairs_) {
      const auto [a, b] = pair;
      const auto& [ab, ba] = orders;
      const bool both = !ab.empty() && !ba.empty();
      const bool tied = rule.inconsistent == Inconsistent::tie && both && ab != ba;
      for (const std::vector<int>* games : {&ab, &ba}) {
        for (int verdict : *games) {
          if (tied) verdict = 0;
          if (verdict != 0) wins[verdict > 0 ? a * k + b : b * k + a] += 1;
          points[a] += 0.5 + 0.5 * verdict;
          points[b] += 0.5 - 0.5 * verdict;
          played[a] += 1;
          played[b] += 1;
        }
      }
    }
    if (rule.scores == GameScores::bt) return bradley_terry(wins, k);
    for (int64_t m = 0; m < k; ++m) points[m] /= played[m];
    return points;
  }

  struct Player {
    int64_t sample;
    std::optional<std::string> response;  // as it was shown
  };
  const std::vector<Player>& players() const { return players_; }

 private:
  int64_t player(const GameRecord& game, int64_t sample) {
    auto found = std::find_if(players_.begin(), players_.end(), [&](const Player& p) { return p.sample == sample; });
    const std::optional<std::string> shown = shown_response(game, sample);
    if (found == players_.end())
      found = players_.insert(found, {sample, shown});
    else if (found->response != shown)
      fail("sample ", sample, " of prompt ", game.id.dump(), " was shown with two responses; judge these samples");
    return found - players_.begin();
  }

  std::vector<Player> players_;
  // Verdicts for the first of the pair, by order.
  std::map<std::pair<int64_t, int64_t>, std::pair<std::vector<int>, std::vector<int>>> pairs_;
};

}  // namespace

std::vector<JudgmentRecord> scores_of_games(const std::vector<GameRecord>& games, const ScoreRule& rule) {
  std::vector<std::pair<Json, Tournament>> prompts;
  std::map<std::string, size_t> index;
  for (const GameRecord& g : games) {
    const auto [it, is_new] = index.emplace(g.id.dump(), prompts.size());
    if (is_new) prompts.push_back({g.id, {}});
    prompts[it->second].second.add(g);
  }
  std::vector<JudgmentRecord> records;
  for (const auto& [id, tournament] : prompts) {
    const std::vector<double> scores = tournament.scores(rule);
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto& [sample, response] = tournament.players()[i];
      records.push_back({id, sample, response ? Json{{"response", *response}} : Json(), {scores[i], "", ""}});
    }
  }
  return records;
}

std::vector<JudgmentRecord> read_judgments(const std::string& path, const ScoreRule& rule) {
  Judgments all = read_judgment_file(path);
  return all.games.empty() ? std::move(all.scores) : scores_of_games(all.games, rule);
}

std::vector<Prompt> read_prompts(const std::string& path) {
  std::vector<Prompt> prompts;
  std::map<std::string, std::string> seen;  // id to place
  for (const JsonLine& line : read_objects(path)) {
    Prompt prompt = parse_prompt(line);
    const bool numbered = !prompt.id;
    if (numbered) prompt.id = static_cast<int64_t>(prompts.size());
    const auto [first, fresh] = seen.emplace(prompt.id->dump(), prompt.place);
    if (!fresh && numbered)
      line.error(concat("has no \"id\" and so counts as ", prompt.id->dump(), ", the id of ", first->second,
                        "; give every prompt an id, or none"));
    if (!fresh) line.error("id " + prompt.id->dump() + " occurs twice, first at " + first->second);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace thinker
