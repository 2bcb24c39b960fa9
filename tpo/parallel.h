// Work on many records at once, on all threads: reading and writing their lines, judging them by rule.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace thinker {

/// f(0), ..., f(n - 1) in order, computed on all threads in any order. Throws what the first of them in order threw,
/// so that an error does not depend on the threads; the others have been called by then.
template <class F>
auto parallel_map(int64_t n, const F& f) {
  using Result = decltype(f(int64_t{0}));
  std::vector<std::optional<Result>> found(n);
  std::vector<std::exception_ptr> errors(n);
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < n; ++i) {
    try {
      found[i].emplace(f(i));
    } catch (...) {
      errors[i] = std::current_exception();
    }
  }
  std::vector<Result> results;
  results.reserve(n);
  for (int64_t i = 0; i < n; ++i) {
    if (errors[i]) std::rethrow_exception(errors[i]);
    results.push_back(std::move(*found[i]));
  }
  return results;
}

}  // namespace thinker
