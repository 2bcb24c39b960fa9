// The one exception of this layer. tokenizer/ includes no other layer, so it cannot use tensor/check.h.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace thinker {

/// Bad input to the tokenizer; what() is one line, fit to be shown to a user.
class TokenizerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws TokenizerError with the parts joined as a stream would print them.
template <class... Parts>
[[noreturn]] void tokenizer_fail(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  throw TokenizerError(out.str());
}

}  // namespace thinker
