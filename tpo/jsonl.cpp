#include "tpo/jsonl.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <set>
#include <vector>

#include "nn/json_file.h"
#include "tensor/check.h"
#include "tensor/file.h"
#include "tokenizer/json_depth.h"
#include "tpo/text.h"

namespace thinker {

namespace {

void round_floats(Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (!std::isfinite(number)) fail("a number to be written as JSON is not finite");
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", number);
    value = std::strtod(digits, nullptr);
  } else if (value.is_structured()) {
    for (Json& part : value) round_floats(part);
  }
}

int64_t integer_of(const Json& value, const std::string& place, const std::string& what) {
  if (!value.is_number_integer()) fail(place, ": ", what, " is not an integer");
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value.is_number_unsigned() && value.get<uint64_t>() > kMax) fail(place, ": ", what, " is too large");
  return value.get<int64_t>();
}

/// callback: see nlohmann::json::parse; it may throw.
Json parse_with(std::string_view text, const std::string& place, const Json::parser_callback_t& callback) {
  if (const int64_t bad = first_invalid_utf8(text); bad >= 0) fail(place, ": invalid UTF-8 at byte ", bad + 1);
  if (is_too_deep(text)) fail(place, ": JSON nested deeper than ", kMaxJsonDepth, " levels");
  try {
    return Json::parse(text, callback);
  } catch (const Json::exception& e) {
    fail(place, ": broken JSON: ", excerpt(reason_of(e), 200));
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& place) {
  return parse_with(text, place, nullptr);
}

Json parse_settings(const std::string& path) {
  std::vector<std::set<std::string>> open;  // the keys of each object that has begun
  const auto once = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second)
      fail(path, ": \"", excerpt(parsed.get<std::string>()), "\" stands twice in one object");
    return true;
  };
  return parse_with(read_text_file(path), path, once);
}

std::string dump_json(Json value) {
  if (value.is_object()) {
    for (auto& [key, part] : value.items())
      if (key != "id") round_floats(part);  // an id goes from input to output untouched
  } else {
    round_floats(value);
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Messages parse_messages(const Json& value, const std::string& place, const std::string& key) {
  if (!value.is_array() || value.empty()) fail(place, ": \"", key, "\" is not a list of messages");
  Messages messages;
  for (const Json& item : value) {
    const std::string which = concat("message ", messages.size() + 1, " of \"", key, "\"");
    if (!item.is_object()) fail(place, ": ", which, " is not an object");
    for (const char* part : {"role", "content"}) {
      if (!item.contains(part)) fail(place, ": ", which, " has no \"", part, "\"");
      if (!item[part].is_string()) fail(place, ": \"", part, "\" of ", which, " is not a string");
    }
    const auto role = item["role"].get<std::string>();
    if (role != "system" && role != "user" && role != "assistant")
      fail(place, ": ", which, " has the role \"", excerpt(role), "\"; use system, user or assistant");
    if (role == "system" && !messages.empty()) fail(place, ": ", which, ": a system message can only be the first");
    messages.push_back({role, item["content"].get<std::string>()});
  }
  return messages;
}

Json messages_to_json(const Messages& messages) {
  Json list = Json::array();
  for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  return list;
}

bool JsonLine::has(const std::string& key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const Json& JsonLine::at(const std::string& key) const {
  const auto found = object_.find(key);
  if (found == object_.end()) error("\"" + key + "\" is missing");
  return *found;
}

std::string JsonLine::string(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_string()) error("\"" + key + "\" is not a string");
  return value.get<std::string>();
}

double JsonLine::number(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_number()) error("\"" + key + "\" is not a number");
  return value.get<double>();
}

int64_t JsonLine::integer(const std::string& key) const {
  return integer_of(at(key), place_, "\"" + key + "\"");
}

std::vector<int32_t> JsonLine::ids(const std::string& key) const {
  const Json& list = at(key);
  if (!list.is_array()) error("\"" + key + "\" is not a list of token ids");
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& item : list) {
    const int64_t id = integer_of(item, place_, "an entry of \"" + key + "\"");
    if (id < 0 || id > std::numeric_limits<int32_t>::max())
      error(concat("\"", key, "\" holds ", id, ", not a token id"));
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<double> JsonLine::numbers(const std::string& key) const {
  const Json& list = at(key);
  if (!list.is_array()) error("\"" + key + "\" is not a list of numbers");
  std::vector<double> numbers;
  numbers.reserve(list.size());
  for (const Json& item : list) {
    if (!item.is_number()) error("\"" + key + "\" is not a list of numbers");
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::vector<std::string> JsonLine::strings(const std::string& key) const {
  const Json& list = at(key);
  if (!list.is_array()) error("\"" + key + "\" is not a list of strings");
  std::vector<std::string> strings;
  for (const Json& item : list) {
    if (!item.is_string()) error("\"" + key + "\" is not a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

std::vector<JsonLine> JsonLine::objects(const std::string& key) const {
  const Json& list = at(key);
  if (!list.is_array()) error("\"" + key + "\" is not a list of objects");
  std::vector<JsonLine> objects;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = concat(place_, ": ", key, "[", i, "]");
    if (!list[i].is_object()) fail(place, ": is a ", list[i].type_name(), ", not an object");
    objects.emplace_back(list[i], place);
  }
  return objects;
}

Messages JsonLine::messages() const {
  if (has("messages") && has("prompt")) error("has both \"messages\" and \"prompt\"; keep one");
  if (has("prompt")) return {{"user", string("prompt")}};
  if (!has("messages")) error("\"messages\" is missing (or \"prompt\" for one user message)");
  return parse_messages(at("messages"), place_);
}

std::optional<Json> JsonLine::id() const {
  const auto found = object_.find("id");
  if (found == object_.end()) return std::nullopt;
  if (!found->is_string() && !found->is_number()) error("\"id\" is neither a string nor a number");
  // A whole number beyond 64 bits has become the nearest double, which others have become, too.
  if (found->is_number_float() && std::fabs(found->get<double>()) >= 0x1p53)
    error("\"id\" is a number with too many digits to come out as it went in; write it as a string");
  return *found;
}

void JsonLine::error(const std::string& reason) const {
  fail(place_, ": ", reason);
}

JsonlReader::JsonlReader(const std::string& path) : file_(path), stream_(&file_), name_(path) {
  const int reason = errno;
  std::error_code ignored;  // what is wrong with the name, opening has told
  if (std::filesystem::is_directory(path, ignored)) fail(path, ": is a folder, expected a file");
  if (!file_) fail(path, ": cannot be opened: ", std::strerror(reason));
}

JsonlReader::JsonlReader(std::istream& stream, std::string name) : stream_(&stream), name_(std::move(name)) {}

JsonLine PlacedText::parse() const {
  Json object = parse_json(text, place);
  if (!object.is_object()) fail(place, ": the line is not a JSON object");
  return JsonLine(std::move(object), place);
}

std::optional<JsonLine> JsonlReader::next() {
  const auto line = next_text();
  return line ? std::optional(line->parse()) : std::nullopt;
}

std::vector<PlacedText> JsonlReader::rest() {
  std::vector<PlacedText> lines;
  while (auto line = next_text()) lines.push_back(std::move(*line));
  return lines;
}

std::optional<PlacedText> JsonlReader::next_text() {
  std::string text;
  while (std::getline(*stream_, text)) {
    ++line_;
    if (!trim(text).empty()) return PlacedText{std::move(text), concat(name_, ":", line_)};
  }
  // std::cin reads through C's stdin, which keeps an error to itself: to the stream it is the end.
  if (stream_->bad() || (stream_ == &std::cin && std::ferror(stdin)))
    fail(name_, ":", line_ + 1, ": cannot be read: ", std::strerror(errno));
  return std::nullopt;
}

std::vector<JsonLine> read_jsonl(const std::string& path) {
  return read_jsonl_as(path, [](JsonLine&& line) { return std::move(line); });
}

}  // namespace thinker
