#include "tpo/stages/evaluate.h"

#include <algorithm>

#include "tensor/check.h"
#include "tpo/stages/judge.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// Evaluation draws from streams of their own: no key of a training prompt comes near.
constexpr int64_t kFirstKey = int64_t{1} << 30;

}  // namespace

Json eval_to_json(const EvalRecord& r) {
  Json line = sample_to_json(r.sample);
  line["category"] = r.category;
  line["attempts"] = r.attempts;
  line["first_parse"] = name(r.first_parse);
  if (r.judged.score)
    line["score"] = *r.judged.score;
  else
    line["error"] = r.judged.error;
  return line;
}

EvalRecord parse_eval(const JsonLine& line) {
  EvalRecord r;
  r.sample = parse_sample(line);
  r.category = line.string("category");
  r.attempts = line.integer("attempts");
  r.first_parse = parse_from_name(line.string("first_parse"));
  if (line.has("score"))
    r.judged.score = line.number("score");
  else
    r.judged.error = line.string("error");
  return r;
}

std::vector<EvalRecord> read_evals(const std::string& path) {
  return read_jsonl_as(path, parse_eval);
}

void judge_records(std::vector<EvalRecord>& records, Judge& judge, const std::vector<Prompt>& prompts, double known,
                   const Progress& progress) {
  std::vector<SampleRecord> valid;
  for (const EvalRecord& r : records) {
    if (r.sample.valid()) valid.push_back(r.sample);
  }
  std::vector<JudgmentRecord> judgments = judge_samples(judge, prompts, valid, progress);
  size_t next = 0;
  for (EvalRecord& r : records) r.judged = r.sample.valid() ? std::move(judgments[next++].judged) : Judged{};
  const double lowest = lowest_score(records, known);
  for (EvalRecord& r : records)
    if (!r.sample.valid()) r.judged = {lowest, "", ""};
}

std::vector<EvalRecord> sample_outputs(const Model& model, const std::vector<Prompt>& prompts, SampleStage stage,
                                       int64_t resample, const Progress& progress) {
  const std::vector<SamplePrompt> all = sample_prompts_of(prompts, kFirstKey);
  std::vector<EvalRecord> records(prompts.size());
  std::vector<int64_t> open(prompts.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = static_cast<int64_t>(i);
  stage.k = 1;
  const auto report = [&] {
    if (progress)
      progress("evaluate", static_cast<int64_t>(prompts.size() - open.size()), static_cast<int64_t>(prompts.size()));
  };
  report();
  // An evaluation is drawn as a whole, so it may as well end within: nothing more is lost.
  stage.on_token = [&, also = stage.on_token](const GeneratedSample& sample) {
    if (also) also(sample);
    if (sample.ended) report();
  };
  for (int64_t attempt = 0; attempt <= resample && !open.empty(); ++attempt) {
    std::vector<SamplePrompt> asked;
    for (int64_t i : open) asked.push_back(all[i]);
    stage.first_sample = attempt;
    std::vector<SampleRecord> samples = sample_prompts(model, asked, stage);
    std::vector<int64_t> failed;
    for (size_t j = 0; j < samples.size(); ++j) {
      if (!samples[j].valid()) failed.push_back(open[j]);
      EvalRecord& record = records[open[j]];
      const Parse first = attempt == 0 ? samples[j].split.parse : record.first_parse;
      record = {prompts[open[j]].category, std::move(samples[j]), attempt + 1, first, {}};
    }
    open = std::move(failed);
    report();
  }
  return records;
}

std::vector<SampleRecord> outputs_of(const std::vector<EvalRecord>& records) {
  std::vector<SampleRecord> outputs;
  for (const EvalRecord& r : records) outputs.push_back(r.sample);
  return outputs;
}

EvalSummary summarise(const std::vector<EvalRecord>& records, uint64_t seed) {
  EvalSummary s;
  std::vector<double> scores, thoughts, responses;
  std::map<std::string, std::vector<double>> by_category;
  int64_t parsed_at_once = 0, marked = 0;
  for (const EvalRecord& r : records) {
    parsed_at_once += r.first_parse == Parse::ok;
    marked += r.first_parse != Parse::no_open && r.first_parse != Parse::no_marker;
    s.failed += !r.sample.valid();
    if (r.sample.split.thought) thoughts.push_back(static_cast<double>(count_code_points(*r.sample.split.thought)));
    // Without a thought, an output that failed has a response, too: what was cut is no length of an answer.
    if (r.sample.valid()) responses.push_back(static_cast<double>(count_code_points(r.sample.shown_response())));
    if (!r.judged.score) {
      ++s.unjudged;
      continue;
    }
    scores.push_back(*r.judged.score);
    by_category[r.category].push_back(*r.judged.score);
  }
  s.prompts = static_cast<int64_t>(records.size());
  if (s.scored()) {
    for (const auto& [category, list] : by_category)
      s.categories[category] = {mean(list), static_cast<int64_t>(list.size()), bootstrap_interval(list, seed)};
  }
  s.score = mean(scores);
  s.interval = bootstrap_interval(scores, seed);
  s.parse_rate = records.empty() ? 0.0 : static_cast<double>(parsed_at_once) / static_cast<double>(s.prompts);
  s.marker_rate = records.empty() ? 0.0 : static_cast<double>(marked) / static_cast<double>(s.prompts);
  s.thought_length = mean(thoughts);
  s.response_length = mean(responses);
  return s;
}

Json summary_to_json(const EvalSummary& s) {
  Json categories = Json::object();
  for (const auto& [category, entry] : s.categories)
    categories[category] = {
        {"score", entry.score}, {"low", entry.interval.low}, {"high", entry.interval.high}, {"prompts", entry.prompts}};
  const auto if_scored = [&](double value) { return s.scored() ? Json(value) : Json(); };
  return {{"prompts", s.prompts},
          {"score", if_scored(s.score)},
          {"low", if_scored(s.interval.low)},
          {"high", if_scored(s.interval.high)},
          {"parse_rate", s.parse_rate},
          {"marker_rate", s.marker_rate},
          {"failed", s.failed},
          {"unjudged", s.unjudged},
          {"thought_length", s.thought_length},
          {"response_length", s.response_length},
          {"categories", categories}};
}

}  // namespace thinker
