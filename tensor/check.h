// Errors. `fail` reports bad input of the user's: one line that names what is wrong and the remedy.
// `ENSURE` guards a contract inside the program and adds the place in the source.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace thinker {

/// Every error that Thinker raises on purpose. what() is one line, fit to be shown to a user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Joins the parts as a stream would print them. Texts, characters and integers, which are most, need no stream: making
/// one takes longer than all else here.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string joined;
  const auto append = [&]<class Part>(const Part& part) {
    if constexpr (std::is_convertible_v<const Part&, std::string_view>) {
      joined += std::string_view(part);
    } else if constexpr (std::is_same_v<Part, char>) {
      joined += part;
    } else if constexpr (std::is_integral_v<Part> && sizeof(Part) > 1) {
      joined += std::to_string(part);
    } else {
      std::ostringstream out;
      out << part;
      joined += out.str();
    }
  };
  (append(parts), ...);
  return joined;
}

/// Throws Error with the joined parts as its one line.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

}  // namespace thinker

/// Throws thinker::Error with the message, file and line when the condition does not hold; never compiled out.
/// (The customary name CHECK belongs to doctest in our tests.)
#define ENSURE(condition, ...)                                                          \
  do {                                                                                  \
    if (!(condition)) ::thinker::fail(__VA_ARGS__, " [", __FILE__, ":", __LINE__, "]"); \
  } while (false)
