// Philox4x32-10: a counter-based random generator (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
// SC'11). A draw is a pure function of its key and counter, so it does not depend on batch shape, thread or device, and
// a resumed run draws what a straight one would have drawn.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>

namespace thinker {

/// What a draw is for. Two purposes never share a stream.
enum class Purpose : uint32_t {
  initialise = 1,
  sample = 2,
  shuffle = 3,
  bootstrap = 4,
  generate_data = 5,
  corrupt = 6,
  judge_noise = 7,
  hold_out = 8,
  adapter = 9
};

/// One block of Philox: 128 random bits for a 128-bit counter under a 64-bit key.
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// A stream of numbers for one (seed, purpose, a, b, c); the last counter word steps through the stream.
/// For sampling: a = iteration, b = prompt, c = sample, and `at(step)` is the draw of one token.
class Rng {
 public:
  Rng(uint64_t seed, Purpose purpose, uint32_t a = 0, uint32_t b = 0, uint32_t c = 0)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32) ^ (static_cast<uint32_t>(purpose) << 24)},
        counter_{a, b, c} {}

  /// 32 random bits at a position of the stream; does not move the stream.
  uint32_t bits_at(uint32_t step) const { return philox({counter_[0], counter_[1], counter_[2], step}, key_)[0]; }

  /// Uniform in [0, 1) at a position of the stream, with 24 bits.
  double at(uint32_t step) const { return static_cast<double>(bits_at(step) >> 8) * 0x1p-24; }

  /// The next uniform number in [0, 1).
  double uniform() { return at(step_++); }

  /// The next integer in [0, n). Precondition: n > 0. (The bias of a multiply-shift is below n / 2^32.)
  int64_t below(int64_t n) {
    return static_cast<int64_t>((static_cast<uint64_t>(bits_at(step_++)) * static_cast<uint64_t>(n)) >> 32);
  }

  /// Fills a range with integers in [0, n), four from each position of the stream. Precondition: n > 0.
  void fill_below(std::span<int64_t> to, int64_t n) {
    for (size_t i = 0; i < to.size(); i += 4) {
      const auto words = philox({counter_[0], counter_[1], counter_[2], step_++}, key_);
      for (size_t j = i; j < std::min(i + 4, to.size()); ++j)
        to[j] = static_cast<int64_t>((static_cast<uint64_t>(words[j - i]) * static_cast<uint64_t>(n)) >> 32);
    }
  }

  /// The next standard normal number (Box-Muller on two draws).
  double normal();

  /// Shuffles a container in place (Fisher-Yates).
  template <class Container>
  void shuffle(Container& items) {
    for (int64_t i = static_cast<int64_t>(items.size()) - 1; i > 0; --i) std::swap(items[i], items[below(i + 1)]);
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 3> counter_;
  uint32_t step_ = 0;
};

}  // namespace thinker
