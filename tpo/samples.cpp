#include "tpo/samples.h"

#include <set>

#include "tensor/check.h"

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
  std::vector<std::pair<int64_t, int64_t>> runs;
  int64_t last = 0;
  for (const Json& run : line.at(key)) {
    const bool two = run.is_array() && run.size() == 2 && run[0].is_number_integer() && run[1].is_number_integer();
    if (two) runs.emplace_back(run[0].get<int64_t>(), run[1].get<int64_t>());
    if (!two || runs.back().first < last || runs.back().second < runs.back().first ||
        runs.back().second > static_cast<int64_t>(length)) {
      line.error("\"" + key + "\" is not a list of [begin, end] within the tokens, in order");
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
  std::vector<SampleRecord> samples;
  JsonlReader reader(path);
  while (auto line = reader.next()) samples.push_back(parse_sample(*line));
  return samples;
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
  else
    j.judged.error = line.string("error");
  return j;
}

std::vector<JudgmentRecord> read_judgments(const std::string& path) {
  std::vector<JudgmentRecord> judgments;
  JsonlReader reader(path);
  while (auto line = reader.next()) judgments.push_back(parse_judgment(*line));
  return judgments;
}

std::vector<Prompt> read_prompts(const std::string& path) {
  std::vector<Prompt> prompts;
  std::set<std::string> seen;
  JsonlReader reader(path);
  while (auto line = reader.next()) {
    Prompt prompt = parse_prompt(*line);
    if (!prompt.id) prompt.id = static_cast<int64_t>(prompts.size());
    if (!seen.insert(prompt.id->dump()).second) line->error("id " + prompt.id->dump() + " occurs twice");
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace thinker
