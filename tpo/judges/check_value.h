// The value of one check of the rule judge, read with errors that name it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tpo/jsonl.h"

namespace thinker {

class CheckValue {
 public:
  /// `json` must outlive the value; `where` is what its errors begin with.
  CheckValue(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  const Json& json() const { return json_; }
  [[noreturn]] void error(const std::string& reason) const;

  /// For an object: true when the key is there and not null.
  bool has(const char* key) const;

  /// For an object: throws Error at a key that is none of these, and names the nearest. Keys with null count as absent.
  void known_options(const std::vector<std::string>& options) const;

  // Each throws Error when the value is missing or of another form.
  CheckValue option(const char* key) const;  // a key of an object
  std::string text() const;                  // not empty
  std::vector<std::string> texts() const;    // a text, or a list of texts that is not empty
  int64_t count() const;                     // 0 to 1000000; 3.0 counts as 3
  bool flag() const;

 private:
  const Json& json_;
  std::string where_;
};

}  // namespace thinker
