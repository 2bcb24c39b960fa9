// Looking into a page's text, for the report's tests.
#pragma once

#include <cstdint>
#include <string>

namespace thinker::test {

inline constexpr const char* kScript = "<script>alert(1)</script>";

inline bool contains(const std::string& page, const std::string& part) {
  return page.find(part) != page.npos;
}

inline int64_t occurrences(const std::string& page, const std::string& part) {
  int64_t n = 0;
  for (size_t at = page.find(part); at != page.npos; at = page.find(part, at + 1)) ++n;
  return n;
}

}  // namespace thinker::test
