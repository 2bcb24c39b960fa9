#include "tpo/stages/outputs.h"

#include <algorithm>
#include <map>

#include "tensor/check.h"
#include "tpo/fingerprint.h"
#include "tpo/prompt_formats.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// An output with what tells its prompt.
struct Found {
  std::string key;
  EvalRecord record;
};

EvalRecord of_text(const std::string& text) {
  EvalRecord r;
  r.sample.text = text;
  r.sample.split.parse = trim(text).empty() ? Parse::empty_response : Parse::ok;
  if (r.sample.valid()) r.sample.split.response = std::string(trim(text));
  r.first_parse = r.sample.split.parse;
  return r;
}

Found alpaca_output(const JsonLine& item) {
  return {item.string("instruction"), of_text(item.string("output"))};
}

/// "content" is a text or {"answer": text}.
std::string answer_in(const JsonLine& line, const Json& message) {
  const Json content = message.is_object() ? message.value("content", Json()) : Json();
  const Json answer = content.is_object() ? content.value("answer", Json()) : content;
  if (!answer.is_string()) line.error("the last message has neither a text nor an {\"answer\": text} as its content");
  return answer.get<std::string>();
}

/// Arena-Hard's ids are texts.
Json uid_of(const Json& id) {
  return id.is_string() ? id : Json(id.dump());
}

/// The last item of a list within a line.
Json last_of(const JsonLine& line, const Json& list, const char* name) {
  if (!list.is_array() || list.empty()) line.error("\"" + std::string(name) + "\" is not a list with something in it");
  return list.back();
}

Found arena_answer(const JsonLine& line) {
  const auto id = in_our_words(line).id();
  if (!id) line.error("\"uid\" is missing");
  Json message;
  if (line.has("messages")) {
    message = last_of(line, line.at("messages"), "messages");
  } else {
    const Json& choices = line.at("choices");
    if (!choices.is_array() || choices.empty() || !choices[0].is_object() || !choices[0].contains("turns"))
      line.error("\"choices\" is not a list of {\"turns\"}");
    message = last_of(line, choices[0]["turns"], "turns");
  }
  return {uid_of(*id).dump(), of_text(answer_in(line, message))};
}

Found own_output(const JsonLine& line) {
  EvalRecord record;
  if (line.has("attempts")) {
    record = parse_eval(line);
    record.judged = {};
  } else {
    record.sample = parse_sample(line);
    record.first_parse = record.sample.split.parse;
  }
  return {record.sample.id.dump(), std::move(record)};
}

/// The prompt's text, where it is one user message and nothing else.
std::optional<std::string> instruction_of(const Prompt& prompt) {
  if (prompt.messages.size() != 1) return std::nullopt;
  return prompt.messages[0].content;
}

std::string described(const Prompt& prompt) {
  return concat("prompt ", prompt.id.value_or(Json()).dump(), " (\"", excerpt(prompt.messages.back().content), "\")");
}

/// A name that stands for this answer and no other, 22 characters as theirs have.
std::string answer_id(const std::string& generator, const Json& uid, const std::string& answer) {
  return sha256(dump_json({{"model", generator}, {"uid", uid}, {"answer", answer}})).substr(0, 22);
}

std::string response_of(const EvalRecord& r) {
  return r.sample.valid() ? std::string(trim(*r.sample.split.response)) : "";
}

}  // namespace

bool is_outputs_file(const std::string& path) {
  return path.ends_with(".jsonl") || path.ends_with(".json");
}

StoredOutputs read_outputs(const std::string& path, const std::vector<Prompt>& prompts) {
  const bool alpaca = path.ends_with(".json");
  bool arena = false;
  std::map<std::string, std::vector<EvalRecord>> outputs;
  for (const JsonLine& line : read_objects(path)) {
    arena = line.has("uid") || line.has("question_id");
    Found found = alpaca ? alpaca_output(line) : arena ? arena_answer(line) : own_output(line);
    outputs[found.key].push_back(std::move(found.record));
  }
  auto keys_left = static_cast<int64_t>(outputs.size());
  std::map<std::string, size_t> taken;
  StoredOutputs stored;
  const Prompt* without = nullptr;
  int64_t missing = 0;
  for (const Prompt& p : prompts) {
    const Json id = p.id.value_or(Json());
    const std::string key = alpaca ? p.messages.back().content : (arena ? uid_of(id) : id).dump();
    const auto list = outputs.find(key);
    if (list == outputs.end()) {
      if (missing++ == 0) without = &p;
      continue;
    }
    // A text that is asked twice takes its outputs in turn.
    const size_t turn = taken[key]++;
    if (turn == 0) --keys_left;
    EvalRecord record = list->second[std::min(turn, list->second.size() - 1)];
    record.category = p.category;
    record.sample.id = id;
    stored.records.push_back(std::move(record));
  }
  if (without)
    fail(path, ": has no output for ", described(*without), missing > 1 ? concat(" and ", missing - 1, " more") : "",
         "; outputs must be of the same prompts (matched by ", alpaca ? "their text" : "id", ")");
  stored.unmatched = keys_left;
  return stored;
}

void check_export(ExportFormat format, const std::vector<Prompt>& prompts) {
  if (format != ExportFormat::alpaca_eval) return;
  for (const Prompt& p : prompts)
    if (!instruction_of(p)) fail(described(p), ": AlpacaEval's prompts are one user message each; export arena-hard");
}

std::string export_outputs(ExportFormat format, const std::vector<Prompt>& prompts,
                           const std::vector<EvalRecord>& records, const std::string& generator, double time) {
  ENSURE(prompts.size() == records.size(), prompts.size(), " prompts but ", records.size(), " outputs");
  Json list = Json::array();
  std::string lines;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Prompt& p = prompts[i];
    const std::string answer = response_of(records[i]);
    if (format == ExportFormat::alpaca_eval) {
      list.push_back(
          {{"dataset", p.category}, {"instruction", *instruction_of(p)}, {"output", answer}, {"generator", generator}});
      continue;
    }
    const Json uid = uid_of(p.id.value_or(Json()));
    Json messages = messages_to_json(p.messages);
    messages.push_back({{"role", "assistant"}, {"content", {{"answer", answer}}}});
    const Json line{{"uid", uid},
                    {"ans_id", answer_id(generator, uid, answer)},
                    {"model", generator},
                    {"messages", messages},
                    {"tstamp", time}};
    lines += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  return format == ExportFormat::alpaca_eval ? list.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : lines;
}

}  // namespace thinker
