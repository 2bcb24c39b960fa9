// Philox against the known answers of its authors (Random123, file kat_vectors), and the streams made from it.
#include "tensor/rng.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace thinker::test {

TEST_CASE("philox4x32-10: known answers") {
  using Block = std::array<uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  const uint32_t ones = 0xffffffffu;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) == Block{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  CHECK(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
        Block{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("streams differ in every word that names them, and repeat") {
  std::set<std::vector<uint32_t>> streams;
  int made = 0;
  const auto note = [&](const Rng& rng) {
    std::vector<uint32_t> bits;
    for (uint32_t step = 0; step < 4; ++step) bits.push_back(rng.bits_at(step));
    streams.insert(bits);
    ++made;
  };
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}})
    for (const Purpose purpose : {Purpose::initialise, Purpose::sample, Purpose::shuffle, Purpose::bootstrap,
                                  Purpose::generate_data, Purpose::corrupt})
      note(Rng(seed, purpose));
  for (uint32_t i = 1; i < 20; ++i) {
    note(Rng(0, Purpose::sample, i));
    note(Rng(0, Purpose::sample, 0, i));
    note(Rng(0, Purpose::sample, 0, 0, i));
  }
  CHECK(static_cast<int>(streams.size()) == made);
  Rng a(7, Purpose::sample, 1, 2, 3), b(7, Purpose::sample, 1, 2, 3);
  for (int i = 0; i < 10; ++i) CHECK(a.uniform() == b.uniform());
}

TEST_CASE("a draw at a position does not depend on what was drawn before") {
  Rng moved(3, Purpose::sample, 5);
  const Rng fresh(3, Purpose::sample, 5);
  for (uint32_t i = 0; i < 5; ++i) CHECK(moved.uniform() == fresh.at(i));
}

TEST_CASE("streams are not correlated with their neighbours") {
  constexpr int kDraws = 20000;
  const Rng a(1, Purpose::sample, 0, 0, 0), b(1, Purpose::sample, 0, 0, 1);
  double sum = 0, squares = 0, product = 0;
  for (uint32_t i = 0; i < kDraws; ++i) {
    const double x = a.at(i) - 0.5, y = b.at(i) - 0.5;
    sum += x;
    squares += x * x;
    product += x * y;
  }
  // Standard errors: mean 0.0020, second moment 0.0005, product 0.0006. Five of them.
  CHECK(std::abs(sum / kDraws) < 0.0102);
  CHECK(std::abs(squares / kDraws - 1.0 / 12) < 0.0027);
  CHECK(std::abs(product / kDraws) < 0.003);
}

TEST_CASE("uniform, below, normal and shuffle keep their ranges") {
  Rng rng(2, Purpose::shuffle);
  std::vector<int> counts(7, 0);
  double sum = 0, squares = 0;
  for (int i = 0; i < 7000; ++i) {
    const double u = rng.uniform();
    CHECK((u >= 0.0 && u < 1.0));
    ++counts.at(rng.below(7));
    const double z = rng.normal();
    CHECK(std::isfinite(z));
    sum += z;
    squares += z * z;
  }
  for (int c : counts) CHECK(std::abs(c - 1000) < 150);
  CHECK(std::abs(sum / 7000) < 0.06);
  CHECK(std::abs(squares / 7000 - 1) < 0.09);
  std::vector<int> items(100), sorted;
  for (int i = 0; i < 100; ++i) items[i] = i;
  sorted = items;
  rng.shuffle(items);
  CHECK(items != sorted);
  std::sort(items.begin(), items.end());
  CHECK(items == sorted);
}

}  // namespace thinker::test
