#include "tpo/stages/pair.h"

#include <algorithm>
#include <map>
#include <set>

#include "tensor/check.h"
#include "tokenizer/error.h"
#include "tpo/text.h"

namespace thinker {

namespace {

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// A prompt's samples, in the order of their lines.
struct Group {
  const Prompt* prompt = nullptr;
  std::vector<const SampleRecord*> samples;
};

/// Which sample of which prompt: each comes once among samples, and once among judgments.
using Key = std::pair<std::string, int64_t>;

std::string named(const Key& key) {
  return concat("sample ", key.second, " of prompt ", key.first);
}

std::set<Key> keys_of(const std::vector<SampleRecord>& samples, const std::string& file) {
  std::set<Key> keys;
  for (const SampleRecord& s : samples) {
    const Key key{s.id.dump(), s.sample};
    if (!keys.insert(key).second) fail(file, ": ", named(key), " stands twice among the samples");
  }
  return keys;
}

std::vector<Group> group_by_prompt(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples,
                                   const std::string& file) {
  std::vector<Group> groups;
  std::map<std::string, size_t> index;
  for (const Prompt& p : prompts) {
    index[p.id.value_or(Json()).dump()] = groups.size();
    groups.push_back({&p, {}});
  }
  for (const SampleRecord& s : samples) {
    const auto it = index.find(s.id.dump());
    if (it == index.end())
      fail(file, ": sample ", s.id.dump(), " belongs to no prompt; give the prompts it was drawn from");
    if (drawn_tokens(s.ids, s.forced) == 0) continue;  // cut within what was written for it: nothing to train
    groups[it->second].samples.push_back(&s);
  }
  return groups;
}

std::map<Key, const JudgmentRecord*> index_judgments(const std::vector<JudgmentRecord>& judgments,
                                                     const std::set<Key>& known, const std::string& file) {
  std::map<Key, const JudgmentRecord*> index;
  for (const JudgmentRecord& j : judgments) {
    const Key key{j.id.dump(), j.sample};
    if (!known.contains(key)) fail(file, ": ", named(key), " is judged, but not there; judge these samples");
    if (!index.emplace(key, &j).second) fail(file, ": ", named(key), " is judged twice");
  }
  return index;
}

/// Throws where the judge saw another text than the sample's: a file of another run.
void check_view(const JudgmentRecord& judgment, const SampleRecord& s, const std::string& file) {
  if (!s.valid() || !judgment.view.is_object() || !judgment.view.contains("response")) return;
  // As lines of files: a byte that is not UTF-8 is another character there.
  const Json shown = std::string(s.shown_response());
  if (dump_json(judgment.view.at("response")) != dump_json(shown))
    fail(file, ": ", named({s.id.dump(), s.sample}), ": its judgment is of another response; judge these samples");
}

int64_t response_length(const SampleRecord& s, LengthUnit unit, const ChatTokenizer* tokenizer) {
  if (!s.valid()) return 0;
  if (unit == LengthUnit::chars) return count_code_points(s.shown_response());
  ENSURE(tokenizer, "lengths in tokens need a tokenizer");
  return static_cast<int64_t>(tokenizer->tokenizer.encode(s.shown_response(), SpecialText::Plain).size());
}

PairRecord to_record(const Group& group, const std::vector<Candidate>& candidates, const Pair& pair,
                     const ThoughtStyle& style) {
  const Candidate &chosen = candidates[pair.chosen], &rejected = candidates[pair.rejected];
  const SampleRecord &c = *group.samples[pair.chosen], &r = *group.samples[pair.rejected];
  auto length = [](const Candidate& x) { return x.parsed ? std::optional(x.response_length) : std::nullopt; };
  return {c.id,
          apply_thought(group.prompt->messages, style),
          c.text,
          r.text,
          {c.prompt_ids, c.ids, r.ids, c.forced, r.forced},
          c.sample,
          r.sample,
          chosen.score,
          rejected.score,
          pair.s_chosen,
          pair.s_rejected,
          length(chosen),
          length(rejected)};
}

/// A line of texts instead of ids.
IdPair encode_pair(const JsonLine& line, const ChatTokenizer& text) {
  try {
    return {text.prompt_ids(line.messages()),
            text.completion_ids(line.string("chosen")),
            text.completion_ids(line.string("rejected")),
            {},
            {}};
  } catch (const TokenizerError& e) {
    line.error(e.what());
  }
}

}  // namespace

Json pair_to_json(const PairRecord& p) {
  Json line{{"id", p.id},
            {"messages", messages_to_json(p.messages)},
            {"chosen", p.chosen},
            {"rejected", p.rejected},
            {"prompt_ids", p.ids.prompt},
            {"chosen_ids", p.ids.chosen},
            {"rejected_ids", p.ids.rejected},
            {"chosen_sample", p.chosen_sample},
            {"rejected_sample", p.rejected_sample},
            {"score_chosen", or_null(p.score_chosen)},
            {"score_rejected", or_null(p.score_rejected)},
            {"s_chosen", or_null(p.s_chosen)},
            {"s_rejected", or_null(p.s_rejected)},
            {"length_chosen", or_null(p.length_chosen)},
            {"length_rejected", or_null(p.length_rejected)}};
  if (!p.ids.chosen_forced.empty()) line["chosen_forced"] = p.ids.chosen_forced;
  if (!p.ids.rejected_forced.empty()) line["rejected_forced"] = p.ids.rejected_forced;
  return line;
}

IdPair parse_id_pair(const JsonLine& line, const ChatTokenizer& text) {
  IdPair pair;
  if (line.has("prompt_ids") || line.has("chosen_ids") || line.has("rejected_ids")) {
    pair = {line.ids("prompt_ids"), line.ids("chosen_ids"), line.ids("rejected_ids"), {}, {}};
    if (line.has("chosen_forced")) pair.chosen_forced = parse_runs(line, "chosen_forced", pair.chosen.size());
    if (line.has("rejected_forced")) pair.rejected_forced = parse_runs(line, "rejected_forced", pair.rejected.size());
  } else {
    pair = encode_pair(line, text);
  }
  if (pair.prompt.empty() || pair.chosen.empty() || pair.rejected.empty()) {
    line.error("prompt, chosen and rejected need at least one token each");
  }
  if (drawn_tokens(pair.chosen, pair.chosen_forced) == 0 || drawn_tokens(pair.rejected, pair.rejected_forced) == 0)
    line.error("all tokens of chosen or of rejected are forced: the model drew none that could be trained");
  for (const auto* ids : {&pair.prompt, &pair.chosen, &pair.rejected}) {
    for (int32_t id : *ids) {
      if (id >= text.tokenizer.vocabulary_size()) {
        line.error("token id " + std::to_string(id) + " is outside the vocabulary of " +
                   std::to_string(text.tokenizer.vocabulary_size()));
      }
    }
  }
  return pair;
}

std::vector<IdPair> read_id_pairs(const std::string& path, const ChatTokenizer& text) {
  return read_jsonl_as(path, [&](const JsonLine& line) { return parse_id_pair(line, text); });
}

const char* name(LengthUnit unit) {
  return unit == LengthUnit::chars ? "chars" : "tokens";
}

Json counts_to_json(const PairResult& result) {
  const PairCounts& c = result.counts;
  return {{"prompts", c.prompts},
          {"pairs", c.pairs},
          {"failure_pairs", c.failure_pairs},
          {"too_few_valid", c.too_few_valid},
          {"equal_scores", c.equal_scores},
          {"equal_texts", c.equal_texts},
          {"not_better", c.not_better},
          {"samples", c.samples},
          {"unparsed", c.unparsed},
          {"truncated", c.truncated},
          {"unjudged", c.unjudged},
          {"rho", result.rho},
          {"length_unit", name(result.length)},
          {"mean_chosen_length", result.mean_chosen_length},
          {"mean_rejected_length", result.mean_rejected_length},
          {"balanced", result.balanced()}};
}

std::string why_no_pair(const PairCounts& c, const std::vector<JudgmentRecord>& judgments) {
  using Reasons = std::vector<std::pair<int64_t, const char*>>;
  const auto list = [](const Reasons& reasons) {
    std::string text;
    for (const auto& [count, words] : reasons)
      if (count > 0) text += concat(text.empty() ? "" : ", ", count, " ", words);
    return text;
  };
  const std::string prompts = list({{c.equal_scores, "with equal scores"},
                                    {c.too_few_valid, "with fewer than two valid outputs"},
                                    {c.equal_texts, "with the same text as best and worst"},
                                    {c.not_better, "where length control prefers what the judge does not"}});
  const std::string outputs =
      list({{c.unparsed, "did not parse"}, {c.truncated, "were cut"}, {c.unjudged, "were not judged"}});
  std::string text = concat("from ", c.prompts, " prompts: ", prompts);
  if (!outputs.empty()) text += concat("; of ", c.samples, " outputs, ", outputs);
  const auto unjudged = std::ranges::find_if(judgments, [](const JudgmentRecord& j) { return !j.judged.score; });
  if (unjudged != judgments.end()) text += concat(" (the first: ", excerpt(unjudged->judged.error, 200), ")");
  return text;
}

Json trials_to_json(const std::vector<RhoTrial>& trials) {
  Json list = Json::array();
  for (const RhoTrial& t : trials)
    list.push_back({{"rho", t.rho},
                    {"pairs", t.pairs},
                    {"chosen_length", t.chosen_length},
                    {"rejected_length", t.rejected_length}});
  return list;
}

PairResult pair_samples(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples,
                        const std::vector<JudgmentRecord>& judgments, const PairStage& stage,
                        const ChatTokenizer* tokenizer, const PairFiles& files) {
  const std::map<Key, const JudgmentRecord*> judged =
      index_judgments(judgments, keys_of(samples, files.samples), files.judgments);
  const std::vector<Group> groups = group_by_prompt(prompts, samples, files.samples);
  std::vector<std::vector<Candidate>> candidates;
  for (const Group& group : groups) {
    std::vector<Candidate> list;
    for (const SampleRecord* s : group.samples) {
      const auto it = judged.find({s->id.dump(), s->sample});
      if (it != judged.end()) check_view(*it->second, *s, files.judgments);
      list.push_back({s->sample, s->text, s->valid(), s->stop == Stop::length,
                      it == judged.end() ? std::nullopt : it->second->judged.score,
                      response_length(*s, stage.length, tokenizer)});
    }
    candidates.push_back(std::move(list));
  }
  PairResult result;
  PairOptions options = stage.options;
  result.trials = try_rhos(candidates, options);
  if (stage.auto_rho) options.rho = auto_rho(result.trials).rho;
  const PairSet set = build_pairs(candidates, options);
  for (const Pair& pair : set.pairs) {
    result.pairs.push_back(to_record(groups[pair.prompt], candidates[pair.prompt], pair, stage.style));
  }
  result.counts = set.counts;
  result.rho = options.rho;
  result.length = stage.length;
  result.mean_chosen_length = set.mean_chosen_length;
  result.mean_rejected_length = set.mean_rejected_length;
  return result;
}

}  // namespace thinker
