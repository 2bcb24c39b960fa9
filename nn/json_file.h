// JSON files beside a model's weights (config.json, adapter_config.json): one object each, and not trusted.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace thinker {

/// What the library says is wrong, without its "[json.exception.parse_error.101]".
std::string reason_of(const nlohmann::json::exception& e);

/// Parses a file that holds one JSON object. Throws Error naming the file.
nlohmann::json read_object(const std::string& path);

/// Typed look-ups that name file and key. A key whose value is null is as one that is missing.
class Keys {
 public:
  Keys(const nlohmann::json& object, std::string path) : object_(object), path_(std::move(path)) {}

  const nlohmann::json* find(const char* key) const;
  int64_t integer(const char* key) const;
  int64_t integer_or(const char* key, int64_t otherwise) const { return find(key) ? integer(key) : otherwise; }
  double number_or(const char* key, double otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;
  std::string text(const char* key) const;
  const std::string& path() const { return path_; }

 private:
  const nlohmann::json& object_;
  std::string path_;
};

}  // namespace thinker
