// How the CPU kernels share work among OpenMP threads. The split depends on nothing but the sizes and the number of
// threads, so the same call gives the same bits.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "tensor/check.h"

namespace thinker {

/// A part of less work than this is not worth waking a thread for; in elements touched.
constexpr int64_t kGrain = 16384;

/// Calls body(begin, end) for contiguous ranges that cover [0, n), one a thread at most; an item costs about
/// `item_cost` elements. A call with little work stays on the calling thread: a body that asks for its thread's number
/// must not be called from inside a parallel region.
template <class Body>
void parallel_ranges(int64_t n, int64_t item_cost, const Body& body) {
  if (n <= 0) return;
  const int64_t useful = (n * std::max<int64_t>(item_cost, 1) + kGrain - 1) / kGrain;
  const int64_t parts = std::min({n, useful, static_cast<int64_t>(omp_get_max_threads())});
  if (parts <= 1) return body(int64_t{0}, n);
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < parts; ++p) body(n * p / parts, n * (p + 1) / parts);
}

/// Calls body(item, begin, end) for ranges of each item's parts, of which it has count(item) at about `part_cost`. All
/// parts, one item's after the other's, are shared out at once: a thread has one range of them, and waits once.
template <class Items, class Count, class Body>
void parallel_parts(const Items& items, int64_t part_cost, const Count& count, const Body& body) {
  int64_t total = 0;
  for (const auto& item : items) total += count(item);
  parallel_ranges(total, part_cost, [&](int64_t begin, int64_t end) {
    int64_t first = 0;
    for (const auto& item : items) {
      const int64_t parts = count(item), from = std::max<int64_t>(begin - first, 0), to = std::min(end - first, parts);
      first += parts;
      if (from < to) body(item, from, to);
    }
  });
}

/// Memory for intermediate values of one call, kept between calls so that hot paths do not allocate.
class Scratch {
 public:
  /// At least `count` elements, 64-byte aligned, not cleared; valid until the next call.
  template <class T>
  T* take(int64_t count) {
    const int64_t bytes = (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    if (bytes > size_) {
      memory_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)));
      size_ = memory_ ? bytes : 0;
      if (!memory_) fail("out of memory: ", bytes >> 20, " MiB of working space");
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  int64_t size_ = 0;
};

}  // namespace thinker
