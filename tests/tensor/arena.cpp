// The arena of activations, and the memory of the backend beneath it.
#include "tensor/arena.h"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>

#include "tensor/device.h"
#include "tensor/dry_backend.h"

namespace thinker::test {

namespace {

bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 64 == 0;
}

}  // namespace

TEST_CASE("arena: memory is aligned, does not overlap, and is taken again after a release") {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  Arena::Slot first, second, third;
  char* a = static_cast<char*>(arena.allocate(100, first));
  const Arena::Mark mark = arena.mark();
  char* b = static_cast<char*>(arena.allocate(1, second));
  CHECK(aligned(a));
  CHECK(aligned(b));
  CHECK(b >= a + 100);
  CHECK(arena.alive(first));
  CHECK(arena.alive(second));
  arena.release(mark);
  CHECK(arena.alive(first));
  CHECK(!arena.alive(second));
  CHECK(arena.allocate(1, third) == b);
  CHECK(arena.alive(third));
  CHECK(!arena.alive(second));  // the same memory, another allocation
}

TEST_CASE("arena: empty allocations have addresses of their own") {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  Arena::Slot slot;
  CHECK(arena.allocate(0, slot) != arena.allocate(0, slot));
}

TEST_CASE("arena: larger than a chunk, and many chunks") {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  Arena::Slot slot;
  const int64_t large = int64_t{100} << 20, small = int64_t{40} << 20;
  const Arena::Mark begin = arena.mark();
  for (int64_t bytes : {small, large, small, small}) {
    char* p = static_cast<char*>(arena.allocate(bytes, slot));
    std::memset(p, 1, 16);
    std::memset(p + bytes - 16, 1, 16);
  }
  const int64_t high = arena.high_water();
  CHECK(high >= large + 3 * small);
  arena.release(begin);
  for (int64_t bytes : {small, large, small, small}) arena.allocate(bytes, slot);
  CHECK(arena.high_water() == high);
}

TEST_CASE("arena: slightly longer micro-batches find room in the chunks of those before") {
  DryBackend counter(nullptr);
  Arena arena(counter);
  Arena::Slot slot;
  const int64_t row = int64_t{64} << 10;
  for (int64_t rows = 1200; rows < 1800; rows += 25) {  // arrays of 75 to 112 MB
    const Arena::Mark begin = arena.mark();
    for (int i = 0; i < 20; ++i) arena.allocate(rows * row, slot);
    arena.release(begin);
  }
  CHECK(counter.peak() <= 20 * (int64_t{128} << 20));
}

TEST_CASE("gradients: slightly larger buffers are taken again, too") {
  auto owned = std::make_unique<DryBackend>(nullptr);
  const DryBackend& counter = *owned;
  Device device(std::move(owned));
  for (int64_t bytes = 1'000'000; bytes < 2'000'000; bytes += 1000) {
    void* p = device.gradients().take(bytes);
    device.gradients().give_back(p);
  }
  CHECK(counter.peak() <= 4'000'000);
}

TEST_CASE("arena: a release out of order throws, as does a negative size") {
  const auto backend = make_cpu_backend();
  Arena arena(*backend);
  Arena::Slot slot;
  const Arena::Mark begin = arena.mark();
  arena.allocate(1, slot);
  const Arena::Mark later = arena.mark();
  arena.release(begin);
  CHECK_THROWS_AS(arena.release(later), Error);
  CHECK_THROWS_AS(arena.allocate(-1, slot), Error);
}

TEST_CASE("backend: memory that is not there is refused with its size and use") {
  const auto backend = make_cpu_backend();
  CHECK_THROWS_WITH_AS(backend->allocate(int64_t{1} << 60, "weights"),
                       doctest::Contains("weights asked for 1.07e+09 GiB"), Error);
  CHECK_THROWS_WITH_AS(backend->allocate(INT64_MAX, "weights"), doctest::Contains("GiB"), Error);
}

TEST_CASE("backend: copy, fill, convert") {
  const auto backend = make_cpu_backend();
  constexpr int64_t n = 100003;  // more than one thread's share
  std::vector<float> x(n), back(n);
  for (int64_t i = 0; i < n; ++i) x[i] = 0.37f * static_cast<float>(i % 1000) - 100.0f;
  std::vector<double> wide(n);
  std::vector<bf16> half(n);
  backend->copy(back.data(), x.data(), n * 4);
  CHECK(back == x);
  backend->convert(wide.data(), x.data(), n, DType::F64, DType::F32);
  backend->convert(half.data(), x.data(), n, DType::BF16, DType::F32);
  backend->convert(back.data(), half.data(), n, DType::F32, DType::BF16);
  for (int64_t i = 0; i < n; ++i) {
    REQUIRE(wide[i] == static_cast<double>(x[i]));
    REQUIRE(half[i].bits == to_bf16(x[i]).bits);
    REQUIRE(back[i] == to_float(half[i]));
  }
  backend->fill_zero(back.data(), n * 4);
  CHECK(back == std::vector<float>(n, 0.0f));
  CHECK_THROWS_WITH_AS(backend->convert(back.data(), x.data(), 1, DType::I32, DType::F32), doctest::Contains("I32"),
                       Error);
}

TEST_CASE("bf16 rounds to nearest, ties to even, and keeps NaN and infinity") {
  CHECK(to_float(to_bf16(1.0f)) == 1.0f);
  CHECK(to_float(to_bf16(1.00390625f)) == 1.0f);       // halfway between 1 and 1.0078125: the even one
  CHECK(to_float(to_bf16(1.01171875f)) == 1.015625f);  // halfway again: the even one lies above
  CHECK(to_float(to_bf16(1.004f)) == 1.0078125f);
  CHECK(to_float(to_bf16(3.4e38f)) == std::numeric_limits<float>::infinity());
  CHECK(to_float(to_bf16(-std::numeric_limits<float>::infinity())) == -std::numeric_limits<float>::infinity());
  const float nan = to_float(to_bf16(std::numeric_limits<float>::quiet_NaN()));
  CHECK(nan != nan);
}

TEST_CASE("buffer pool: buffers of a similar size are taken again") {
  const auto backend = make_cpu_backend();
  BufferPool pool(*backend);
  void* a = pool.take(1 << 20);
  pool.give_back(a);
  CHECK(pool.take(1000 << 10) == a);
  CHECK(pool.take(1 << 20) != a);
  CHECK(pool.high_water() == 2 << 20);
}

}  // namespace thinker::test
