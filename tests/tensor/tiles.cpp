// Products of rounded factors in tiles, where this program and machine have the unit for them.
#include "tensor/cpu/tiles.h"

#include <cstdio>
#include <cstring>

#include "gradcheck.h"
#include "tensor/cpu/tiled_product.h"
#include "threads.h"

namespace thinker::test {

#if defined(__AMX_BF16__)

namespace {

bool has_unit() {
  if (!tiles::has_unit()) std::fprintf(stderr, "SKIP: products in tiles: this machine does not lend its tile unit\n");
  return tiles::has_unit();
}

std::vector<float> rounded(std::vector<float> x) {
  for (float& value : x) value = to_float(to_bf16(value));
  return x;
}

std::vector<float> turned(const std::vector<float>& x, int64_t rows, int64_t cols) {
  std::vector<float> y(x.size());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) y[j * rows + i] = x[i * cols + j];
  return y;
}

/// A factor x (n, depth) in tiles; the second time as it lies turned.
template <bool right>
std::vector<std::byte> pack(const std::vector<float>& x, int64_t n, int64_t depth, bool turn) {
  std::vector<std::byte> packed(tiles::packed_bytes(n, depth));
  const std::vector<float> lies = turn ? turned(x, n, depth) : x;
  tiles::pack<right>(packed.data(), turn ? Strided<float>{lies.data(), 1, n} : Strided<float>{lies.data(), depth, 1}, n,
                     depth);
  return packed;
}

void check_products() {
  Rng rng = test_rng(51);
  for (const int64_t m : {1, 3, 5, 12, 16, 17, 31, 33, 64})
    for (const int64_t n : {1, 15, 16, 32, 40, 64})
      for (const int64_t k : {1, 2, 31, 32, 64, 70}) {
        INFO(m, " x ", n, " x ", k);
        const auto a = rounded(random_floats(m * k, rng)), b = rounded(random_floats(n * k, rng));
        const auto left = pack<false>(a, m, k, false), right = pack<true>(b, n, k, false);
        CHECK(pack<false>(a, m, k, true) == left);
        CHECK(pack<true>(b, n, k, true) == right);
        const int64_t ld = n + 3;  // what lies between the rows stays
        std::vector<float> out(m * ld, -7.0f);
        const tiles::Unit unit(true);
        tiles::multiply(out.data(), ld, left.data(), right.data(), m, n, k, k, Write::set);
        std::vector<float> found;
        for (int64_t i = 0; i < m; ++i) {
          found.insert(found.end(), &out[i * ld], &out[i * ld] + n);
          CHECK(std::all_of(&out[i * ld + n], &out[i * ld] + ld, [](float x) { return x == -7.0f; }));
        }
        CHECK(product_error(found, a, b, m, n, k) <= 1e-6);
        // Added onto itself, twice is what it is; a part of a wider and deeper right factor gives the part's product.
        std::vector<float> twice = found, part(m * n);
        tiles::multiply(twice.data(), n, left.data(), right.data(), m, n, k, k, Write::add);
        for (size_t i = 0; i < twice.size(); ++i) CHECK(std::abs(twice[i] - 2 * found[i]) <= 1e-4f);
        const int64_t some_columns = (n + 1) / 2, some_depth = (k + 1) / 2;
        std::vector<float> shallow;
        for (int64_t i = 0; i < m; ++i) shallow.insert(shallow.end(), &a[i * k], &a[i * k] + some_depth);
        std::vector<float> narrow;
        for (int64_t j = 0; j < some_columns; ++j) narrow.insert(narrow.end(), &b[j * k], &b[j * k] + some_depth);
        part.resize(m * some_columns);
        tiles::multiply(part.data(), some_columns, pack<false>(shallow, m, some_depth, false).data(), right.data(), m,
                        some_columns, some_depth, k, Write::set);
        CHECK(product_error(part, shallow, narrow, m, some_columns, some_depth) <= 1e-6);
      }
}

}  // namespace

TEST_CASE("tiles: factors are rounded to nearest, ties to even") {
  // Halfway between two neighbours, then a little more; the processor's rounding takes denormal numbers for 0.
  const std::vector<float> x = {1.0f + 0x1p-8f, 1.0f + 0x3p-8f, 1.0f + 0x1.01p-8f, -1.0f - 0x1p-8f, 3e38f, 1e-40f};
  const std::vector<float> expected = {1.0f, 1.0f + 0x1p-6f, 1.0f + 0x1p-7f, -1.0f, to_float(to_bf16(3e38f)), 0.0f};
  for (const bool turn : {false, true}) {
    const auto packed = pack<false>(x, 1, 6, turn);
    for (size_t i = 0; i < x.size(); ++i) {
      bf16 number;
      std::memcpy(&number, packed.data() + 2 * i, 2);
      CHECK(to_float(number) == expected[i]);
    }
  }
}

TEST_CASE("tiles: the unit's products equal a plain loop, and it is left as it was") {
  if (!has_unit()) return;
  check_products();
  struct alignas(64) Shape {
    std::byte bytes[64];
  };
  const auto shape = [] {
    Shape s;
    asm volatile("sttilecfg %0" : "=m"(s));
    return std::vector<std::byte>(s.bytes, s.bytes + 64);
  };
  const auto before = shape();
  {
    const tiles::Unit outer(true);
    const auto full = shape();
    CHECK(full != before);
    { const tiles::Unit inner(true); }
    CHECK(shape() == full);
  }
  CHECK(shape() == before);
}

TEST_CASE("tiles: a packed weight's products equal a plain loop, a row's bits are the same among any others") {
  if (!has_unit()) return;
  Rng rng = test_rng(52);
  Scratch scratch;
  const auto device = open_device("cpu");
  struct Size {
    int64_t most, n, k;
  };
  std::vector<Size> sizes = {{1040, 528, 40}, {1040, 560, 33}};  // past the caches: with 1,000 rows and more
  for (const int64_t n : {1, 16, 33, 64, 200})
    for (const int64_t k : {1, 64, 131}) sizes.push_back({70, n, k});
  for (const auto [most, n, k] : sizes) {
    const auto a = rounded(random_floats(most * k, rng)), weight = rounded(random_floats(n * k, rng));
    std::vector<std::byte> packed(tiles::packed_bytes(n, k));
    tiles::pack_weight(packed.data(), weight.data(), n, k);
    const auto product = [&](int64_t m) {
      const Tensor out = Tensor::zeros(*device, {m * n + 1}, DType::F32);  // aligned, as all activations are
      const LinearProduct one{out.raw(), weight.data(), packed.data(), n};
      tiles::multiply_weights({&one, 1}, a.data(), m, k, scratch);
      std::vector<float> all = out.to_host<float>();
      CHECK(all.back() == 0.0f);
      all.pop_back();
      return all;
    };
    const auto all = product(most);
    INFO(n, " columns, depth ", k);
    CHECK(product_error(all, a, weight, most, n, k) <= 1e-6);
    for (const int64_t m : {1, 2, 15, 16, 17, 32, 40, 65, 1033})
      for (const int threads : {1, 2, 3}) {
        if (m > most) continue;
        const Threads those(threads);
        const auto some = product(m);
        CHECK(std::equal(some.begin(), some.end(), all.begin()));
      }
  }
}

TEST_CASE("tiles: products of arrays as they lie equal a plain loop, whatever the number of threads") {
  if (!has_unit()) return;
  Rng rng = test_rng(53);
  Scratch scratch;
  struct Size {
    int64_t m, n, k;
  };
  // Long enough to go past the caches (rows left over, and a width that may not); a depth in two and in three parts.
  for (const auto [m, n, k] : {Size{1, 1, 1}, Size{33, 20, 70}, Size{300, 64, 33}, Size{1040, 528, 40},
                               Size{1033, 530, 3}, Size{40, 48, 1600}, Size{19, 33, 3100}}) {
    INFO(m, " x ", n, " x ", k);
    const auto a = rounded(random_floats(m * k, rng)), b = rounded(random_floats(n * k, rng));
    const auto start = random_floats(m * n, rng), a_turned = turned(a, m, k), b_turned = turned(b, n, k);
    std::vector<float> plain;
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const int threads : {1, 2, 3}) {
          const Threads those(threads);
          const auto device = open_device("cpu");
          const Tensor out = Tensor::zeros(*device, {m * n + 1}, DType::F32);  // aligned, as all activations are
          const auto product = [&](Write write) {
            tiles::multiply_rounded(
                out.data<float>(), ta ? Strided<float>{a_turned.data(), 1, m} : Strided<float>{a.data(), k, 1},
                tb ? Strided<float>{b_turned.data(), 1, n} : Strided<float>{b.data(), k, 1}, m, n, k, write, scratch);
            const std::vector<float> all = out.to_host<float>();
            CHECK(all.back() == 0.0f);
            return std::vector<float>(all.begin(), all.end() - 1);
          };
          const auto found = product(Write::set);
          if (plain.empty()) {
            plain = found;
            CHECK(product_error(found, a, b, m, n, k) <= 1e-6);
          }
          CHECK(found == plain);
          device->backend().copy_from_host(out.raw(), start.data(), m * n * 4);
          const auto added = product(Write::add);
          double off = 0;
          for (int64_t i = 0; i < m * n; ++i) off = worse(off, std::abs(added[i] - start[i] - plain[i]));
          CHECK(off <= 1e-4);
        }
  }
}

#else

TEST_CASE("tiles: products") {
  std::fprintf(stderr, "SKIP: products in tiles: this program is compiled for a processor without a tile unit\n");
}

#endif

}  // namespace thinker::test
