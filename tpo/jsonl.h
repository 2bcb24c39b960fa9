// JSON lines: one object a line, UTF-8. Reading reports every problem as "FILE:LINE: reason"; writing keeps the order
// of keys and prints floats with 9 significant digits, enough to give a float32 back exactly and the same on every
// machine.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/file.h"
#include "tokenizer/message.h"
#include "tpo/parallel.h"

namespace thinker {

using Json = nlohmann::ordered_json;

/// Parses one JSON text. Throws Error "PLACE: reason" on ill-formed UTF-8, broken JSON, a number beyond double's range,
/// or nesting deeper than 64 (the library's destructor and printer recurse: a hostile line must not exhaust the stack).
Json parse_json(std::string_view text, const std::string& place);

/// The JSON of a file that people write by hand. Throws as parse_json, and where an object has a key twice: the first
/// would be lost without a word.
Json parse_settings(const std::string& path);

/// One line, without the newline. Floats are rounded through "%.9g" (except a top-level "id", which is not ours); a
/// byte that is not UTF-8 (a model may sample half a character) becomes U+FFFD. Throws Error when a number is not
/// finite: JSON has no NaN, and null would hide it.
std::string dump_json(Json value);

/// Checks a {"role","content"} list: not empty, known roles, string contents, system only first.
/// Throws Error "PLACE: reason" that names the key.
Messages parse_messages(const Json& value, const std::string& place, const std::string& key = "messages");
Json messages_to_json(const Messages& messages);

/// One object of a file, with the place it came from for errors.
class JsonLine {
 public:
  JsonLine(Json object, std::string place) : object_(std::move(object)), place_(std::move(place)) {}

  const Json& json() const { return object_; }
  const std::string& place() const { return place_; }  // "FILE:LINE"

  /// True when the key is there and not null.
  bool has(const std::string& key) const;

  // Each getter throws Error "FILE:LINE: reason" with the key's name when the key is missing or of another type.
  const Json& at(const std::string& key) const;
  std::string string(const std::string& key) const;
  double number(const std::string& key) const;
  int64_t integer(const std::string& key) const;
  std::vector<int32_t> ids(const std::string& key) const;  // a list of token ids, each in [0, 2^31)
  std::vector<double> numbers(const std::string& key) const;
  std::vector<std::string> strings(const std::string& key) const;
  std::vector<JsonLine> objects(const std::string& key) const;  // each with its place: "FILE:LINE: arms[0]"

  /// "messages", or the short form {"prompt": TEXT} for one user message. Throws when both or neither are there.
  Messages messages() const;

  /// The "id", a string or a number, exactly as read; nothing when the line has none.
  std::optional<Json> id() const;

  /// Throws Error "FILE:LINE: " and the reason.
  [[noreturn]] void error(const std::string& reason) const;

  /// What the work on this line returns. An error that it throws without the place, such as the tokenizer's, gets it.
  template <class Work>
  auto placed(const Work& work) const {
    try {
      return work();
    } catch (const std::runtime_error& e) {
      if (std::string_view(e.what()).starts_with(place_)) throw;
      error(e.what());
    }
  }

 private:
  Json object_;
  std::string place_;
};

/// One line of a file as it was read.
struct PlacedText {
  std::string text, place;  // "FILE:LINE"

  /// Throws Error "FILE:LINE: reason" where it is no object.
  JsonLine parse() const;
};

/// Reads a file or a stream line by line. Blank lines are skipped (a file may end in one) but counted.
class JsonlReader {
 public:
  explicit JsonlReader(const std::string& path);        // throws Error when it cannot be opened
  JsonlReader(std::istream& stream, std::string name);  // name: what errors call it, such as "<stdin>"

  /// The next object, or nothing at the end. Throws Error "FILE:LINE: reason".
  std::optional<JsonLine> next();

  /// The same before it is parsed: all lines that are left.
  std::vector<PlacedText> rest();

 private:
  std::optional<PlacedText> next_text();

  std::ifstream file_;
  std::istream* stream_;
  std::string name_;
  int64_t line_ = 0;
};

/// What `parse` makes of each object of a file, in order. It is called on all threads.
template <class Parse>
auto read_jsonl_as(const std::string& path, const Parse& parse) {
  std::vector<PlacedText> lines = JsonlReader(path).rest();
  return parallel_map(static_cast<int64_t>(lines.size()), [&](int64_t i) {
    const PlacedText line = std::move(lines[i]);  // each is freed as soon as it is parsed
    return parse(line.parse());
  });
}

/// All objects of a file.
std::vector<JsonLine> read_jsonl(const std::string& path);

/// A line of the file, with its newline, for each record. to_json is called on all threads.
template <class Record, class ToJson>
std::string to_lines(std::span<const Record> records, const ToJson& to_json) {
  std::string lines;
  for (const std::string& line :
       parallel_map(static_cast<int64_t>(records.size()), [&](int64_t i) { return dump_json(to_json(records[i])); }))
    lines.append(line) += '\n';
  return lines;
}

/// Writes a whole file at once: under a temporary name, synced, renamed. Throws Error naming the file.
template <class Record, class ToJson = std::identity>
void write_jsonl(const std::string& path, const std::vector<Record>& records, const ToJson& to_json = {}) {
  write_file_atomically(path, to_lines(std::span(records), to_json));
}

}  // namespace thinker
