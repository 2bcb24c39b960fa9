// A bound for JSON from outside: the library builds a value of any depth, but printing and freeing it recurse, so that
// a hostile file would exhaust the stack.
#pragma once

#include <string_view>

namespace thinker {

/// Far more than any real file has.
constexpr int kMaxJsonDepth = 64;

/// Whether brackets outside of strings are nested deeper than kMaxJsonDepth. The text need not be valid JSON.
bool is_too_deep(std::string_view json);

}  // namespace thinker
