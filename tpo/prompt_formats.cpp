#include "tpo/prompt_formats.h"

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace {

/// Copies a value to the key that we call it by, where that is free.
void rename(const char* from, const char* to, Json* object) {
  if (!object->contains(from) || object->contains(to)) return;
  const Json value = (*object)[from];
  (*object)[to] = value;
}

void single_turn(const JsonLine& line, Json* object) {
  const Json& turns = line.at("turns");
  if (!turns.is_array() || turns.empty() || !turns[0].is_object() || !turns[0].contains("content"))
    line.error("\"turns\" is not a list of {\"content\"}");
  if (turns.size() > 1) line.error("\"turns\" holds several turns; only questions of one are read");
  (*object)["prompt"] = turns[0]["content"];
}

}  // namespace

JsonLine in_our_words(const JsonLine& line) {
  Json object = line.json();
  if (!line.has("prompt") && !line.has("messages")) {
    if (line.has("question")) {
      rename("question", "prompt", &object);
      rename("answer", "reference", &object);
    } else if (line.has("turns")) {
      single_turn(line, &object);
    } else if (line.has("instruction")) {
      rename("instruction", "prompt", &object);
      rename("dataset", "category", &object);
    }
  }
  rename("uid", "id", &object);
  rename("question_id", "id", &object);
  return {std::move(object), line.place()};
}

std::vector<JsonLine> read_objects(const std::string& path) {
  if (!path.ends_with(".json")) return read_jsonl(path);
  const Json list = parse_json(read_text_file(path), path);
  if (!list.is_array()) fail(path, ": is not a JSON list");
  std::vector<JsonLine> objects;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = concat(path, ": item ", i + 1);
    if (!list[i].is_object()) fail(place, ": is not an object");
    objects.emplace_back(list[i], place);
  }
  return objects;
}

}  // namespace thinker
