#include "tpo/judges/opponent.h"

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

namespace {

std::string key_of(const Messages& prompt) {
  return dump_json(messages_to_json(prompt));
}

double points(const PairJudged& game, Verdict won) {
  const int verdict = game.verdict ? static_cast<int>(*game.verdict) * static_cast<int>(won) : 0;
  return 0.5 + 0.5 * verdict;
}

}  // namespace

void OpponentJudge::add(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& outputs) {
  std::map<std::string, const Prompt*> by_id;
  for (const Prompt& p : prompts) by_id[p.id.value_or(Json()).dump()] = &p;
  for (const SampleRecord& s : outputs) {
    const auto prompt = by_id.find(s.id.dump());
    if (prompt == by_id.end()) continue;
    const auto [known, fresh] = opponent_.try_emplace(key_of(prompt->second->messages), Output{s.id, std::nullopt});
    if (known->second.id != s.id)
      fail("prompts ", known->second.id.dump(), " and ", s.id.dump(), " are the same text (\"",
           excerpt(prompt->second->messages.back().content), "\"), to which the opponent has two outputs; remove one");
    if (fresh && s.valid()) known->second.view = make_judge_view(*prompt->second, s.split);
  }
}

std::vector<Judged> OpponentJudge::judge(std::span<const JudgeView> views, const OnJudged& on_judged) {
  std::vector<Judged> results(views.size());
  std::vector<PairView> games;
  std::vector<size_t> players;
  for (size_t i = 0; i < views.size(); ++i) {
    const auto found = opponent_.find(key_of(views[i].prompt()));
    if (found == opponent_.end())
      fail("the opponent has no output for the prompt \"", excerpt(views[i].prompt().back().content), "\"");
    const std::optional<JudgeView>& theirs = found->second.view;
    if (!theirs) {
      results[i].score = 1.0;
    } else if (theirs->response() == views[i].response()) {
      results[i].score = 0.5;
    } else {
      games.emplace_back(views[i], *theirs);
      games.emplace_back(*theirs, views[i]);
      players.push_back(i);
    }
  }
  const auto decided = static_cast<int64_t>(views.size() - players.size());
  const std::vector<PairJudged> judged = judge_.judge(games, [&](int64_t played) {
    if (on_judged) on_judged(decided + played / 2);
  });
  for (size_t g = 0; g < players.size(); ++g) {
    const PairJudged &ours_first = judged[2 * g], &theirs_first = judged[2 * g + 1];
    if (ours_first.verdict || theirs_first.verdict)
      results[players[g]].score = (points(ours_first, Verdict::first) + points(theirs_first, Verdict::second)) / 2;
    else
      results[players[g]].error = ours_first.error;
  }
  return results;
}

}  // namespace thinker
