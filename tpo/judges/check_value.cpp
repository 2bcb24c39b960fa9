#include "tpo/judges/check_value.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

void CheckValue::error(const std::string& reason) const {
  fail(where_, ": ", reason);
}

bool CheckValue::has(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && !found->is_null();
}

void CheckValue::known_options(const std::vector<std::string>& options) const {
  for (const auto& [key, value] : json_.items()) {
    if (value.is_null() || std::find(options.begin(), options.end(), key) != options.end()) continue;
    const std::string hint =
        options.empty() ? "none is expected" : "did you mean \"" + nearest_name(key, options) + "\"?";
    error("unknown option \"" + excerpt(key) + "\"; " + hint);
  }
}

CheckValue CheckValue::option(const char* key) const {
  if (!has(key)) error(concat("\"", key, "\" is missing"));
  return CheckValue(json_[key], where_ + "." + key);
}

std::string CheckValue::text() const {
  if (!json_.is_string() || json_.get<std::string>().empty()) error("a text that is not empty is expected");
  return json_.get<std::string>();
}

std::vector<std::string> CheckValue::texts() const {
  if (!json_.is_array()) return {text()};
  if (json_.empty()) error("the list is empty");
  std::vector<std::string> out;
  for (const Json& item : json_) out.push_back(CheckValue(item, where_).text());
  return out;
}

int64_t CheckValue::count() const {
  const double number = json_.is_number() ? json_.get<double>() : -1;
  if (!(number >= 0 && number <= 1e6 && std::floor(number) == number)) error("a count from 0 to 1000000 is expected");
  return static_cast<int64_t>(number);
}

bool CheckValue::flag() const {
  if (!json_.is_boolean()) error("true or false is expected");
  return json_.get<bool>();
}

}  // namespace thinker
