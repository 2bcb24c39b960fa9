#include "nn/json_file.h"

#include <limits>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

using nlohmann::json;

std::string reason_of(const json::exception& e) {
  const std::string text = e.what();
  const size_t tag = text.find("] ");
  return tag == std::string::npos ? text : text.substr(tag + 2);
}

json read_object(const std::string& path) {
  // Nesting is bounded: the parser recurses nowhere, but a tree's destructor does.
  constexpr int kDepth = 64;
  bool too_deep = false;
  const auto bounded = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kDepth;
    return depth <= kDepth;
  };
  json object;
  try {
    object = json::parse(read_text_file(path), bounded);
  } catch (const json::exception& e) {
    fail(path, ": is not JSON (", reason_of(e), ")");
  }
  if (too_deep || !object.is_object()) fail(path, ": is not a JSON object of a usable depth");
  return object;
}

const json* Keys::find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

int64_t Keys::integer(const char* key) const {
  const json* value = find(key);
  if (!value || !value->is_number_integer()) fail(path_, ": \"", key, "\" is missing or not an integer");
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value->is_number_unsigned() && value->get<uint64_t>() > kMost)  // as an int64_t it would be negative
    fail(path_, ": \"", key, "\" is ", value->get<uint64_t>(), ", which is too large");
  return value->get<int64_t>();
}

double Keys::number_or(const char* key, double otherwise) const {
  const json* value = find(key);
  if (!value) return otherwise;
  if (!value->is_number()) fail(path_, ": \"", key, "\" is not a number");
  return value->get<double>();
}

bool Keys::flag_or(const char* key, bool otherwise) const {
  const json* value = find(key);
  if (!value) return otherwise;
  if (!value->is_boolean()) fail(path_, ": \"", key, "\" is neither true nor false");
  return value->get<bool>();
}

std::string Keys::text(const char* key) const {
  const json* value = find(key);
  if (!value || !value->is_string()) fail(path_, ": \"", key, "\" is missing or not a string");
  return value->get<std::string>();
}

}  // namespace thinker
