#include "tpo/stages/judge.h"

#include <map>

#include "tensor/check.h"

namespace thinker {

namespace {

using PromptsById = std::map<std::string, const Prompt*>;

PromptsById by_id_of(const std::vector<Prompt>& prompts) {
  PromptsById by_id;
  for (const Prompt& p : prompts) by_id[p.id.value_or(Json()).dump()] = &p;
  return by_id;
}

}  // namespace

std::vector<JudgmentRecord> judge_samples(Judge& judge, const std::vector<Prompt>& prompts,
                                          const std::vector<SampleRecord>& samples) {
  const PromptsById by_id = by_id_of(prompts);
  std::vector<JudgmentRecord> records;
  std::vector<JudgeView> views;
  for (const SampleRecord& s : samples) {
    if (!s.valid()) continue;
    const auto prompt = by_id.find(s.id.dump());
    if (prompt == by_id.end())
      fail("sample ", s.id.dump(), " belongs to no prompt; give the prompts it was drawn from");
    views.push_back(make_judge_view(*prompt->second, s.split));
    records.push_back({s.id, s.sample, views.back().to_json(), {}});
  }
  std::vector<Judged> judged = judge.judge(views);
  ENSURE(judged.size() == views.size(), "the judge returned ", judged.size(), " results for ", views.size(), " views");
  for (size_t i = 0; i < records.size(); ++i) records[i].judged = std::move(judged[i]);
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

}  // namespace thinker
