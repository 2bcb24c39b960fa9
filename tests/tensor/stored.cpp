// Weights stored smaller than they are computed with: quantising, and products and rows of stored weights against plain
// loops over the values that dequantize() gives.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "gradcheck.h"
#include "tensor/dequantize.h"
#include "tensor/quantize.h"
#include "threads.h"

namespace thinker::test {

namespace {

struct Format {
  DType dtype;
  GgmlType type;
};
constexpr Format kFormats[] = {{DType::BF16, GgmlType::BF16},
                               {DType::Q4_0, GgmlType::Q4_0},
                               {DType::Q4_1, GgmlType::Q4_1},
                               {DType::Q8_0, GgmlType::Q8_0}};

uint16_t half_of(double x) {
  return half_not_below(static_cast<float>(std::abs(x))) | (x < 0 ? 0x8000 : 0);
}

/// n numbers with random bits, and scales of order one.
std::vector<std::byte> random_stored(const Format& format, int64_t n, Rng& rng) {
  std::vector<std::byte> bytes(bytes_of(format.dtype, n));
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.below(256));
  const int64_t block = bytes_of(format.dtype, block_elements(format.dtype));
  for (int64_t at = 0; at < static_cast<int64_t>(bytes.size()); at += block) {
    const auto put = [&](int64_t i, uint16_t bits) { std::memcpy(bytes.data() + at + i, &bits, sizeof bits); };
    if (format.dtype == DType::BF16)
      put(0, to_bf16(static_cast<float>(rng.normal())).bits);
    else
      put(0, half_of(0.1 * rng.normal()));
    if (format.dtype == DType::Q4_1) put(2, half_of(0.5 * rng.normal()));
  }
  return bytes;
}

std::vector<float> widened(const Format& format, const std::vector<std::byte>& bytes, int64_t n) {
  std::vector<float> x(n);
  dequantize(x.data(), bytes.data(), n, format.type);
  return x;
}

/// Rows as files have them, as the backend keeps them.
std::vector<std::byte> as_stored(Backend& backend, const Format& format, const std::vector<std::byte>& rows, int64_t n,
                                 int64_t k) {
  std::vector<std::byte> stored(rows.size());
  backend.store_weight(stored.data(), rows.data(), n, k, format.dtype);
  return stored;
}

std::vector<float> product(Backend& backend, const Format& format, const std::vector<float>& a,
                           const std::vector<std::byte>& weight, int64_t m, int64_t n, int64_t k) {
  std::vector<float> out(m * n, -7.0f);
  const auto stored = as_stored(backend, format, weight, n, k);
  const StoredProduct product{out.data(), stored.data(), format.dtype, n};
  backend.matmul_stored({&product, 1}, a.data(), m, k, DType::F32);
  return out;
}

}  // namespace

TEST_CASE("products with stored weights equal a plain loop: few rows and many, odd shapes, one thread and two") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(31);
  for (const Format& format : kFormats) {
    const bool ragged = format.dtype == DType::BF16;
    for (const int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40})
      for (const auto& [n, k] :
           {std::pair<int64_t, int64_t>{1, 32}, {17, 96}, {67, 576}, {130, ragged ? 37 : 64}, {50, ragged ? 38 : 32}}) {
        INFO(std::string(name(format.dtype)), ": ", m, " x ", n, " x ", k);
        const auto weight = random_stored(format, n * k, rng);
        const auto w = widened(format, weight, n * k), a = random_floats(m * k, rng);
        const auto found = product(device->backend(), format, a, weight, m, n, k);
        CHECK(product_error(found, a, w, m, n, k) <=
              1e-6);  // roundings of 6e-8: of a, and those of the sums, whose errors rarely add up
        for (const int threads : {1, 2}) {
          const Threads those(threads);
          CHECK(product(device->backend(), format, a, weight, m, n, k) == found);
        }
      }
  }
}

TEST_CASE("a row times stored weights has the same bits alone and among others, as long as these are few") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(32);
  const int64_t n = 75, k = 160, most = 32;
  for (const Format& format : kFormats) {
    const auto weight = random_stored(format, n * k, rng);
    const auto a = random_floats(most * k, rng);
    const auto all = product(device->backend(), format, a, weight, most, n, k);
    for (int64_t m = 1; m < most; ++m) {
      const auto some = product(device->backend(), format, a, weight, m, n, k);
      CHECK(std::equal(some.begin(), some.end(), all.begin()));
    }
  }
}

TEST_CASE("one row times a weight of many rows, and of fewer than are read side by side") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(39);
  for (const Format& format : kFormats)
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{16 * 1021 * 2 + 45, 32}, {5, 64}}) {
      INFO(std::string(name(format.dtype)), ": ", n, " x ", k);
      const auto weight = random_stored(format, n * k, rng);
      const auto w = widened(format, weight, n * k), a = random_floats(k, rng);
      for (const int threads : {1, 2, 3}) {
        const Threads those(threads);
        const auto found = product(device->backend(), format, a, weight, 1, n, k);
        CHECK(product_error(found, a, w, 1, n, k) <= 2e-6);
      }
    }
}

TEST_CASE("activations of very different sizes: products are off by about 2^-24 of the greatest of 32 at most") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(40);
  const int64_t m = 3, n = 50, k = 192;
  for (const Format& format : kFormats) {
    INFO(std::string(name(format.dtype)));
    const auto weight = random_stored(format, n * k, rng);
    const auto w = widened(format, weight, n * k);
    auto a = random_floats(m * k, rng);
    for (float& x : a) x *= static_cast<float>(std::exp(20.0 * (rng.uniform() - 0.5)));
    std::fill_n(&a[k], 40, 0.0f);
    a[k + 70] = 1e30f;
    for (int64_t l = 2 * k; l < 3 * k; ++l) a[l] *= l < 2 * k + 64 ? 1e-20f : 1e-38f;
    const auto found = product(device->backend(), format, a, weight, m, n, k);
    int64_t wrong = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0.0, allowed = 0.0;
        for (int64_t b = 0; b < k; b += 32) {
          double most = 0.0, weights = 0.0;
          for (int64_t l = b; l < b + 32; ++l) {
            const double x = a[i * k + l], y = w[j * k + l];
            sum += x * y;
            allowed += 1e-6 * std::abs(x * y);
            most = std::max(most, std::abs(x));
            weights += std::abs(y);
          }
          allowed += (0x1p-24 * most + (most < 1e-30 ? most : 0.0)) * weights;
        }
        wrong += !(std::abs(found[i * n + j] - sum) <= allowed);
      }
    CHECK(wrong == 0);
  }
}

TEST_CASE("the greatest integers that weights and activations can be: no sum of their products overflows") {
  const auto device = open_device("cpu");
  const int64_t m = 3, n = 17, k = 64;
  constexpr double kMost = 127.0 * 65536.0;  // what the greatest activation becomes
  for (const Format& format : kFormats)
    for (const int bits : {0x00, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> weight(bytes_of(format.dtype, n * k), static_cast<std::byte>(bits));
      const int64_t block = bytes_of(format.dtype, block_elements(format.dtype));
      for (size_t at = 0; at < weight.size(); at += block) {
        const uint16_t one = format.dtype == DType::BF16 ? to_bf16(1.0f).bits : half_of(1.0);
        std::memcpy(weight.data() + at, &one, sizeof one);
        if (format.dtype == DType::Q4_1) std::memcpy(weight.data() + at + 2, &one, sizeof one);
      }
      const auto w = widened(format, weight, n * k);
      // All but one of 32 activations have the same digits, as many as can be -128 or 127 (-2048 or 2047).
      for (const int32_t same :
           {0x7e7f7f, -0x7e8080, 0x7ee7ff, -0x7ee800, 0x7e0800, 0x8080, -0x8080, 0x7f0000, -0x7f0000}) {
        INFO(std::string(name(format.dtype)), ", bytes ", bits, ", integers ", same);
        std::vector<float> a(m * k, static_cast<float>(same / kMost));
        for (int64_t l = 0; l < m * k; l += 32) a[l] = 1.0f;
        const auto found = product(device->backend(), format, a, weight, m, n, k);
        CHECK(product_error(found, a, w, m, n, k) <= 1e-6);
      }
    }
}

TEST_CASE("products with stored weights read nothing behind the weight") {
  // The weight ends where a page without access begins.
  const auto device = open_device("cpu");
  Rng rng = test_rng(41);
  const int64_t page = sysconf(_SC_PAGESIZE), k = 96;
  for (const Format& format : kFormats)
    for (const int64_t n : {1, 5, 17}) {
      const int64_t bytes = bytes_of(format.dtype, n * k), pages = (bytes + page - 1) / page;
      void* memory = mmap(nullptr, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      REQUIRE(memory != MAP_FAILED);
      REQUIRE(mprotect(static_cast<std::byte*>(memory) + pages * page, page, PROT_NONE) == 0);
      std::byte* weight = static_cast<std::byte*>(memory) + pages * page - bytes;
      const auto rows = random_stored(format, n * k, rng);
      device->backend().store_weight(weight, rows.data(), n, k, format.dtype);
      for (const int64_t m : {1, 3, 40}) {
        const auto a = random_floats(m * k, rng);
        std::vector<float> out(m * n);
        const StoredProduct at_the_end{out.data(), weight, format.dtype, n};
        device->backend().matmul_stored({&at_the_end, 1}, a.data(), m, k, DType::F32);
        CHECK(out == product(device->backend(), format, a, rows, m, n, k));
      }
      munmap(memory, (pages + 1) * page);
    }
}

TEST_CASE("several products of the same rows in one call have the bits of each alone") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(38);
  const int64_t k = 128, sizes[] = {5, 90, 1, 33};
  for (const int64_t m : {1, 3, 40})
    for (const int threads : {1, 2}) {
      const Threads those(threads);
      const auto a = random_floats(m * k, rng);
      std::vector<std::vector<std::byte>> rows, weights;
      std::vector<std::vector<float>> outs;
      std::vector<StoredProduct> products;
      for (size_t i = 0; i < 4; ++i) {
        rows.push_back(random_stored(kFormats[i], sizes[i] * k, rng));
        weights.push_back(as_stored(device->backend(), kFormats[i], rows[i], sizes[i], k));
        outs.emplace_back(m * sizes[i], -7.0f);
      }
      for (size_t i = 0; i < 4; ++i)
        products.push_back({outs[i].data(), weights[i].data(), kFormats[i].dtype, sizes[i]});
      device->backend().matmul_stored(products, a.data(), m, k, DType::F32);
      for (size_t i = 0; i < 4; ++i)
        CHECK(outs[i] == product(device->backend(), kFormats[i], a, rows[i], m, sizes[i], k));
    }
}

TEST_CASE("rows of a stored table are exactly what dequantize() gives") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(33);
  for (const Format& format : kFormats) {
    const int32_t rows = 25;
    const int64_t c = format.dtype == DType::BF16 ? 45 : 96;
    const auto in_file = random_stored(format, rows * c, rng);
    const auto table = as_stored(device->backend(), format, in_file, rows, c);
    const auto values = widened(format, in_file, rows * c);
    const std::vector<int32_t> index{rows - 1, 0, 3, 3, 16};
    std::vector<float> y(index.size() * c);
    device->backend().gather_stored(y.data(), table.data(), rows, index.data(), static_cast<int64_t>(index.size()), c,
                                    format.dtype, DType::F32);
    for (size_t i = 0; i < index.size(); ++i) {
      INFO(std::string(name(format.dtype)), " row ", index[i]);
      CHECK(std::equal(&y[i * c], &y[i * c] + c, &values[index[i] * c]));
    }
  }
}

TEST_CASE("NaN goes through products with stored weights") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(34);
  const int64_t n = 20, k = 64;
  for (const Format& format : kFormats)
    for (const int64_t m : {1, 3, 40}) {
      auto weight = random_stored(format, n * k, rng);
      const auto a = random_floats(m * k, rng);
      const uint16_t nan = format.dtype == DType::BF16 ? 0x7fc0 : 0x7e00;
      std::memcpy(weight.data() + 5 * bytes_of(format.dtype, k), &nan, sizeof nan);  // row 5
      const auto of_weight = product(device->backend(), format, a, weight, m, n, k);
      CHECK(std::isnan(of_weight[5]));
      CHECK(std::isfinite(of_weight[4]));
      for (const float bad : {NAN, INFINITY, -INFINITY})
        for (const int64_t at : {7, 20, 63}) {
          auto x = a;
          x[(m - 1) * k + at] = bad;
          const auto of_a = product(device->backend(), format, x, weight, m, n, k);
          CHECK(!std::isfinite(of_a[(m - 1) * n]));
          if (std::isnan(bad)) CHECK(std::isnan(of_a[(m - 1) * n]));
          CHECK(std::isfinite(of_a[0]) == (m > 1));
        }
    }
}

TEST_CASE("linear and embedding take stored weights where nothing is recorded") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(35);
  const Format format = kFormats[3];
  const int64_t n = 19, k = 64;
  const auto bytes = random_stored(format, n * k, rng);
  const auto w = widened(format, bytes, n * k);
  const Tensor memory = Tensor::empty(*device, {1024}, DType::F32);
  const Tensor weight = Tensor::parameter(*device, {n, k}, DType::F32);
  weight.place_in(memory, 64, format.dtype);
  CHECK(weight.dtype() == DType::Q8_0);
  CHECK(weight.bytes() == static_cast<int64_t>(bytes.size()));
  device->backend().store_weight(weight.raw(), bytes.data(), n, k, format.dtype);
  const auto x = random_floats(2 * k, rng);
  {
    Tape tape(*device, Tape::Mode::no_grad);
    const Tensor table = tape.from<float>({n, k}, w), input = tape.from<float>({2, k}, x);
    const auto found = linear(tape, input, weight).to_host<float>(),
               plain = linear(tape, input, table).to_host<float>();
    CHECK(relative_error(doubles(found), doubles(plain)) <= 1e-6);
    const auto below = random_floats(2 * n, rng);
    const Tensor sum = tape.from<float>({2, n}, below);
    add_linear(tape, sum, input, weight);
    const auto of_sum = sum.to_host<float>();
    for (size_t i = 0; i < below.size(); ++i) CHECK(of_sum[i] == below[i] + found[i]);
    const Tensor ids = indices(tape, {3, 18});
    CHECK(embedding(tape, weight, ids, DType::F32).to_host<float>() == embedding(tape, table, ids).to_host<float>());
  }
  Tape tape(*device, Tape::Mode::record);
  CHECK_THROWS_AS(linear(tape, tape.from<float>({2, k}, x), weight), Error);
  CHECK_THROWS_AS(add_linear(tape, tape.make({2, n}, DType::F32), tape.from<float>({2, k}, x), weight), Error);
  CHECK_THROWS_AS(embedding(tape, weight, indices(tape, {3}), DType::F32), Error);
}

TEST_CASE("a parameter is placed once, inside its memory, in whole blocks") {
  const auto device = open_device("cpu");
  const Tensor memory = Tensor::empty(*device, {64}, DType::F32);
  const auto parameter_of = [&](const Shape& shape) { return Tensor::parameter(*device, shape, DType::F32); };
  CHECK_THROWS_AS(parameter_of({4, 33}).place_in(memory, 0, DType::Q8_0), Error);
  CHECK_THROWS_AS(parameter_of({4, 16}).place_in(memory, 4, DType::F32), Error);
  const Tensor used = parameter_of({4, 4});
  CHECK(used.to_host<float>() == std::vector<float>(16, 0.0f));
  CHECK_THROWS_AS(used.place_in(memory, 0, DType::F32), Error);
  CHECK_THROWS_AS(size_of(DType::Q4_1), Error);
}

TEST_CASE("half_not_below: the smallest fp16 that is not below") {
  Rng rng = test_rng(36);
  CHECK(half_not_below(0.0f) == 0);
  CHECK(half_to_float(half_not_below(65504.0f)) == 65504.0f);
  CHECK(std::isinf(half_to_float(half_not_below(65505.0f))));
  CHECK(std::isinf(half_to_float(half_not_below(1e30f))));
  int wrong = 0;
  for (int i = 0; i < 20000; ++i) {
    const float x = static_cast<float>(std::exp(-24.0 + 34.0 * rng.uniform()));
    const uint16_t bits = half_not_below(x);
    wrong += !(half_to_float(bits) >= x && half_to_float(static_cast<uint16_t>(bits - 1)) < x);
  }
  CHECK(wrong == 0);
}

TEST_CASE("eight bits: off by half a scale at most, and the scale is the smallest that holds the block") {
  Rng rng = test_rng(37);
  constexpr int64_t kBlocks = 3000, kSize = 34;
  for (const double size : {0.0, 1e-9, 1e-6, 1e-3, 1.0, 1e5}) {
    CAPTURE(size);
    std::vector<float> x = random_floats(32 * kBlocks, rng), back(x.size());
    for (float& v : x) v *= static_cast<float>(size);
    std::vector<std::byte> blocks(kSize * kBlocks);
    quantize_q8_0(blocks.data(), x.data(), 32 * kBlocks);
    dequantize(back.data(), blocks.data(), 32 * kBlocks, GgmlType::Q8_0);
    int wrong = 0;
    for (int64_t b = 0; b < kBlocks; ++b) {
      const double d = half_to_float(load_unaligned<uint16_t>(blocks.data() + b * kSize));
      double most = 0.0;
      for (int64_t i = 32 * b; i < 32 * (b + 1); ++i) {
        most = std::max<double>(most, std::abs(x[i]));
        wrong += !(std::abs(static_cast<double>(back[i]) - x[i]) <= 0.5 * d * (1 + 1e-5));
      }
      // An fp16 is at most 2^-10 of itself, or 2^-24, from the next.
      wrong += !(d <= most / 127 * (1 + 0x1p-10 + 1e-6) + 0x1p-24);
    }
    CHECK(wrong == 0);
  }
  std::vector<float> x(64, 1.0f);
  std::vector<std::byte> blocks(2 * kSize);
  for (const float bad : {NAN, INFINITY, 1e8f}) {
    x[40] = bad;
    CHECK_THROWS_AS(quantize_q8_0(blocks.data(), x.data(), 64), Error);
  }
}

}  // namespace thinker::test
