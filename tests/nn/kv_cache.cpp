#include "nn/kv_cache.h"

#include <set>

#include "tests/nn/models.h"

using namespace thinker;

TEST_CASE("kv cache: reserved regions never overlap, and releasing all of them leaves one region") {
  const auto device = open_device("cpu");
  constexpr int64_t kRows = 500;
  KvCache cache(*device, tiny_config(), kRows, DType::F32);
  Rng rng(5, Purpose::sample);
  std::map<int32_t, int64_t> held;
  int64_t held_rows = 0, refused = 0;
  for (int step = 0; step < 20000; ++step) {
    if (held.empty() || rng.below(100) < 55) {
      const int64_t n = 1 + rng.below(60);
      const auto begin = cache.reserve(n);
      if (!begin) {
        ++refused;
        // A refusal is right only when no gap is large enough.
        int64_t at = 0, widest = 0;
        for (const auto& [b, length] : held) {
          widest = std::max(widest, b - at);
          at = b + length;
        }
        REQUIRE(std::max(widest, kRows - at) < n);
        continue;
      }
      REQUIRE((*begin >= 0 && *begin + n <= kRows));
      const auto next = held.lower_bound(*begin);
      if (next != held.end()) REQUIRE(*begin + n <= next->first);
      if (next != held.begin()) REQUIRE(std::prev(next)->first + std::prev(next)->second <= *begin);
      held[*begin] = n;
      held_rows += n;
    } else {
      auto it = std::next(held.begin(), rng.below(static_cast<int64_t>(held.size())));
      cache.release(it->first, it->second);
      held_rows -= it->second;
      held.erase(it);
    }
  }
  CHECK(refused > 100);
  for (const auto& [begin, n] : held) cache.release(begin, n);
  CHECK(cache.reserve(kRows) == 0);
}

TEST_CASE("kv cache: a region released twice is an error") {
  const auto device = open_device("cpu");
  KvCache cache(*device, tiny_config(), 10, DType::F32);
  CHECK(cache.reserve(4) == 0);
  CHECK(cache.reserve(4) == 4);
  cache.release(4, 4);
  CHECK_THROWS_AS(cache.release(4, 4), Error);
  CHECK_THROWS_AS(cache.release(3, 2), Error);
}
