// Products with a weight in panels, on every processor: where oneDNN has a layout of its own nothing else reaches them.
#include "tensor/cpu/panels.h"

#include "gradcheck.h"
#include "threads.h"

namespace thinker::test {

namespace {

/// The numbers as they are kept in panels.
template <class W>
std::vector<float> kept(std::vector<float> x) {
  if constexpr (std::is_same_v<W, bf16>)
    for (float& number : x) number = to_float(to_bf16(number));
  return x;
}

/// a (m, k) times weight (n, k) in panels, whose memory ends where it has to (seen by the sanitizers).
template <class W>
std::vector<float> product(const std::vector<float>& a, const std::vector<float>& weight, int64_t m, int64_t n,
                           int64_t k) {
  const auto packed = std::make_unique<uint32_t[]>(panels::bytes<W>(n, k) / sizeof(uint32_t));
  panels::pack<W>(packed.get(), weight.data(), n, k);
  std::vector<float> out(m * n + 1, -7.0f);
  panels::multiply<W>(out.data(), a.data(), packed.get(), m, n, k);
  CHECK(out.back() == -7.0f);
  out.pop_back();
  return out;
}

template <class W>
void check_products() {
  Rng rng = test_rng(43);
  for (const int64_t n : {1, 7, 8, 16, 17, 23, 24, 25, 48, 49, 96, 97, 200})
    for (const int64_t k : {0, 1, 2, 3, 64, 131}) {
      INFO(n, " columns, depth ", k);
      const int64_t most = 17;
      const auto a = random_floats(most * k, rng), weight = random_floats(n * k, rng);
      const auto all = product<W>(a, weight, most, n, k);
      CHECK(product_error(all, a, kept<W>(weight), most, n, k) <= 1e-6);
      for (int64_t m = 1; m < most; ++m)  // a row has the same bits among any others, on any number of threads
        for (const int threads : {1, 2, 3}) {
          const Threads those(threads);
          const auto some = product<W>(a, weight, m, n, k);
          CHECK(std::equal(some.begin(), some.end(), all.begin()));
        }
    }
}

}  // namespace

TEST_CASE("panels: products in fp32 and of rounded weights equal a plain loop, any number of rows and columns") {
  check_products<float>();
  check_products<bf16>();
}

TEST_CASE("panels: what is not finite stays in its row and column") {
  const int64_t m = 5, n = 30, k = 9;
  Rng rng = test_rng(44);
  auto a = random_floats(m * k, rng), weight = random_floats(n * k, rng);
  a[1 * k + 8] = INFINITY;
  weight[29 * k + 8] = NAN;
  for (const auto& out : {product<float>(a, weight, m, n, k), product<bf16>(a, weight, m, n, k)})
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) CHECK(std::isfinite(out[i * n + j]) == (i != 1 && j != 29));
}

}  // namespace thinker::test
