// Linear layers, the products behind them and the bias.
#include <cstdio>
#include <filesystem>

#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

const Op kLinear = [](Tape& tape, const std::vector<Tensor>& x) { return linear(tape, x[0], x[1]); };
const Op kLinearWithBias = [](Tape& tape, const std::vector<Tensor>& x) { return linear(tape, x[0], x[1], x[2]); };

std::vector<double> plain_linear(const std::vector<Input>& x) {
  const int64_t n = x[0].shape[0], in = x[0].shape[1], out = x[1].shape[0];
  std::vector<double> y(n * out, 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t j = 0; j < in; ++j) y[i * out + o] += x[0].values[i * in + j] * x[1].values[o * in + j];
      if (x.size() > 2) y[i * out + o] += x[2].values[o];
    }
  return y;
}

template <class T>
std::vector<T> as(const std::vector<double>& x) {
  return {x.begin(), x.end()};
}

/// op(a) op(b), added to `start` or not.
template <class T>
void check_product(Backend& backend, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb, Write write) {
  Rng rng = test_rng(m + 100 * n + 10000 * k);
  const auto a = as<T>(normal_values(m * k, rng)), b = as<T>(normal_values(k * n, rng));
  auto c = as<T>(normal_values(m * n, rng));
  std::vector<double> expected(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = write == Write::add ? c[i * n + j] : 0.0;
      for (int64_t l = 0; l < k; ++l)
        sum += static_cast<double>(ta == Transpose::yes ? a[l * m + i] : a[i * k + l]) *
               static_cast<double>(tb == Transpose::yes ? b[j * k + l] : b[l * n + j]);
      expected[i * n + j] = sum;
    }
  const DType t = DTypeOf<T>::value;
  const double before = backend.product_operations();
  backend.matmul(c.data(), a.data(), b.data(), m, n, k, ta, tb, t, t, write);
  CHECK(backend.product_operations() - before == 2.0 * static_cast<double>(m * n * k));
  INFO(m, " x ", n, " x ", k, ", transposed ", ta == Transpose::yes, tb == Transpose::yes, ", add ",
       write == Write::add);
  const double tolerance = t == DType::F64 ? 1e-13 : 1e-5;
  CHECK(relative_error(doubles(c), expected) <= tolerance);
}

}  // namespace

TEST_CASE("linear: gradients, odd sizes") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  for (const auto& [n, in, out] : {std::array{1, 1, 1}, {1, 3, 7}, {3, 7, 1}, {7, 1, 3}, {7, 3, 7}}) {
    INFO(n, " rows, ", in, " -> ", out);
    check_op(*device, kLinear, {activation({n, in}, rng), parameter({out, in}, rng)});
    check_op(*device, kLinearWithBias, {activation({n, in}, rng), parameter({out, in}, rng), parameter({out}, rng)});
  }
}

TEST_CASE("add_linear: gradients, and the values of a sum") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(11);
  // The adapter of a linear layer: y = x w^T + (x a^T) b^T.
  const Op adapted = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor y = linear(tape, x[0], x[1]);
    add_linear(tape, y, linear(tape, x[0], x[2]), x[3]);
    return y;
  };
  const Op summed = [](Tape& tape, const std::vector<Tensor>& x) {
    return add(tape, linear(tape, x[0], x[1]), linear(tape, linear(tape, x[0], x[2]), x[3]));
  };
  for (const auto& [n, in, out, r] : {std::array{1, 1, 1, 1}, {1, 3, 7, 2}, {7, 5, 3, 1}, {40, 33, 17, 3}}) {
    INFO(n, " rows, ", in, " -> ", r, " -> ", out);
    const std::vector<Input> x = {activation({n, in}, rng), parameter({out, in}, rng), parameter({r, in}, rng),
                                  parameter({out, r}, rng)};
    check_op(*device, adapted, x);
    check_forward(*device, adapted, x, run<double>(*device, summed, x).y);
  }
  const std::vector<Input> zero = {activation({9, 33}, rng),
                                   parameter({17, 33}, rng),
                                   parameter({3, 33}, rng),
                                   {{17, 3}, std::vector<double>(51, 0.0), true}};
  CHECK(same_bits(run<float>(*device, adapted, zero).y, run<float>(*device, kLinear, {zero[0], zero[1]}).y));
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor y = tape.make({2, 3}, DType::F32), x = tape.make({2, 5}, DType::F32);
  CHECK_THROWS_WITH_AS(add_linear(tape, y, x, tape.make({4, 5}, DType::F32)), doctest::Contains("[add_linear]"), Error);
}

TEST_CASE("linear equals a plain loop") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  for (const auto& [n, in, out] : {std::array{5, 33, 17}, {1, 576, 130}, {2, 100, 70}, {65, 40, 129}}) {
    const std::vector<Input> x = {activation({n, in}, rng), parameter({out, in}, rng), parameter({out}, rng)};
    check_forward(*device, kLinearWithBias, x, plain_linear(x));
    check_f32(*device, kLinearWithBias, x);
  }
}

TEST_CASE("products: every transposition, set and add, few and many rows, no rows") {
  const auto device = open_device("cpu");
  for (const auto& [m, n, k] : {std::array{1, 1, 1},
                                {1, 200, 70},
                                {1, 16 * 1021 + 61, 3},
                                {2, 65, 33},
                                {3, 300, 576},
                                {4, 7, 1},
                                {5, 64, 64},
                                {9, 130, 3},
                                {66, 67, 68},
                                {0, 3, 4},
                                {3, 0, 4}})
    for (const Transpose ta : {Transpose::no, Transpose::yes})
      for (const Transpose tb : {Transpose::no, Transpose::yes})
        for (const Write write : {Write::set, Write::add}) {
          check_product<float>(device->backend(), m, n, k, ta, tb, write);
          check_product<double>(device->backend(), m, n, k, ta, tb, write);
        }
}

TEST_CASE("products over an empty depth are zero") {
  const auto device = open_device("cpu");
  std::vector<float> c(6, 5.0f);
  const auto product = [&](Write write) {
    device->backend().matmul(c.data(), nullptr, nullptr, 2, 3, 0, Transpose::no, Transpose::no, DType::F32, DType::F32,
                             write);
  };
  product(Write::add);
  CHECK(c == std::vector<float>(6, 5.0f));
  product(Write::set);
  CHECK(c == std::vector<float>(6, 0.0f));
}

TEST_CASE("products of many shapes: what is compiled for a shape is bounded, and right after it was dropped") {
  const auto device = open_device("cpu");
  for (int64_t k = 1; k <= 600; ++k)
    check_product<float>(device->backend(), 8, 3, k, Transpose::no, Transpose::yes, Write::set);
  check_product<float>(device->backend(), 8, 3, 1, Transpose::no, Transpose::yes, Write::set);
}

TEST_CASE("linear repeats its bits") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  check_repeats(*device, kLinearWithBias,
                {activation({70, 96}, rng), parameter({130, 96}, rng), parameter({130}, rng)});
}

TEST_CASE("NaN goes through a product, even against a zero") {
  const auto device = open_device("cpu");
  for (const int64_t rows : {1, 9}) {
    Input x{{rows, 3}, std::vector<double>(rows * 3, 0.0), false};
    x.values[1] = NAN;
    const Input w{{2, 3}, std::vector<double>(6, 0.0), true};
    const std::vector<double> y = run<float>(*device, kLinear, {x, w}).y;
    CHECK(std::isnan(y[0]));
    CHECK(std::isnan(y[1]));
  }
}

TEST_CASE("linear: wrong shapes and dtypes throw and are named") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(4);
  CHECK_THROWS_WITH_AS(run<float>(*device, kLinear, {activation({2, 3}, rng), parameter({2, 4}, rng)}),
                       doctest::Contains("[linear]"), Error);
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor half = tape.make({2, 2}, DType::BF16);
  CHECK_THROWS_WITH_AS(linear(tape, half, half), doctest::Contains("matmul"), Error);
}

TEST_CASE("add_linear: a packed weight's product on top of what is there") {
  const auto device = open_device("cpu");
  Backend& backend = device->backend();
  Rng rng = test_rng(12);
  const int64_t n = 65, k = 17;
  for (const int64_t m : {1, 5, 33}) {
    Tape tape(*device, Tape::Mode::no_grad);
    const Tensor weight = parameter_of(*device, {n, k}, random_floats(n * k, rng));
    const Tensor packed = Tensor::zeros(*device, {(backend.packed_bytes(n, k, DType::F32) + 3) / 4}, DType::F32);
    backend.pack(packed.raw(), weight.raw(), n, k, DType::F32);
    const auto below = random_floats(m * n, rng);
    const Tensor x = tape.from<float>({m, k}, random_floats(m * k, rng)), y = tape.from<float>({m, n}, below);
    const auto product = linear(tape, x, weight, {}, packed.raw()).to_host<float>();
    add_linear(tape, y, x, weight, packed.raw());
    const auto found = y.to_host<float>();
    for (size_t i = 0; i < below.size(); ++i) CHECK(found[i] == below[i] + product[i]);
  }
}

namespace {

/// A weight, packed.
Tensor packed_of(Device& device, const std::vector<float>& weight, int64_t n, int64_t k) {
  Backend& backend = device.backend();
  const Tensor packed = Tensor::zeros(device, {(backend.packed_bytes(n, k, DType::F32) + 3) / 4}, DType::F32);
  backend.pack(packed.raw(), weight.data(), n, k, DType::F32);
  return packed;
}

void multiply_packed(Device& device, std::vector<float>& out, const std::vector<float>& a,
                     const std::vector<float>& weight, const Tensor& packed, int64_t m, int64_t n, int64_t k) {
  const LinearProduct product{out.data(), weight.data(), packed.raw(), n};
  device.backend().matmul_weights({&product, 1}, a.data(), m, k, DType::F32);
}

}  // namespace

TEST_CASE("linear: packed weights give the product of the plain ones, any number of rows") {
  const auto device = open_device("cpu");
  Backend& backend = device->backend();
  for (const auto& [n, k] : {std::array<int64_t, 2>{1, 1}, {3, 7}, {64, 16}, {65, 17}, {130, 192}}) {
    Rng rng = test_rng(n * 1000 + k);
    const auto weight = random_floats(n * k, rng);
    const Tensor packed = packed_of(*device, weight, n, k);
    for (int64_t m : {1, 2, 3, 8, 33, 100}) {
      INFO(m, " rows, ", k, " -> ", n);
      const auto a = random_floats(m * k, rng);
      std::vector<float> plain(m * n), found(m * n);
      backend.matmul(plain.data(), a.data(), weight.data(), m, n, k, Transpose::no, Transpose::yes, DType::F32,
                     DType::F32, Write::set);
      multiply_packed(*device, found, a, weight, packed, m, n, k);
      CHECK(relative_error(doubles(found), doubles(plain)) <= 1e-5);
    }
  }
  CHECK(backend.packed_bytes(8, 8, DType::F64) == 0);
}

TEST_CASE("linear: several weights at once give what each gives alone, packed ones and others") {
  const auto device = open_device("cpu");
  Backend& backend = device->backend();
  const int64_t k = 70, sizes[] = {40, 3, 129, 64, 64};
  for (DType products : {DType::F32, DType::BF16}) {
    backend.set_product_dtype(products);
    Rng rng = test_rng(11);
    std::vector<std::vector<float>> weights;
    std::vector<Tensor> packed;
    for (int64_t n : sizes) {
      weights.push_back(random_floats(n * k, rng));
      packed.push_back(packed_of(*device, weights.back(), n, k));
    }
    for (int64_t m : {0, 1, 2, 33, 200}) {
      const auto a = random_floats(m * k, rng);
      std::vector<std::vector<float>> together, alone;
      for (int64_t n : sizes) together.emplace_back(m * n), alone.emplace_back(m * n);
      std::vector<LinearProduct> list;
      for (size_t i = 0; i < weights.size(); ++i) {
        list.push_back({together[i].data(), weights[i].data(), i == 1 ? nullptr : packed[i].raw(), sizes[i]});
        LinearProduct one = list.back();
        one.out = alone[i].data();
        backend.matmul_weights({&one, 1}, a.data(), m, k, DType::F32);
      }
      const double before = backend.product_operations();
      backend.matmul_weights(list, a.data(), m, k, DType::F32);
      CHECK(backend.product_operations() - before == 2.0 * static_cast<double>(m * 300 * k));
      CHECK(together == alone);
    }
  }
}

TEST_CASE("linear: products with many rows, whose right factor is rearranged first") {
  const auto device = open_device("cpu");
  Backend& backend = device->backend();
  // On both sides of where that begins, and no whole vectors.
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{255, 1031, 7},
                                {257, 1031, 7},
                                {1023, 5, 33},
                                {1025, 5, 33},
                                {1537, 1, 1},
                                {1537, 67, 130}}) {
    Rng rng = test_rng(m * 10000 + n);
    const auto a = random_floats(m * k, rng), b = random_floats(n * k, rng), start = random_floats(m * n, rng);
    const std::vector<double> x(a.begin(), a.end()), y(b.begin(), b.end());
    for (Transpose ta : {Transpose::no, Transpose::yes})
      for (Transpose tb : {Transpose::no, Transpose::yes})
        for (Write write : {Write::set, Write::add}) {
          std::vector<double> expected(start.begin(), start.end());
          backend.matmul(expected.data(), x.data(), y.data(), m, n, k, ta, tb, DType::F64, DType::F64, write);
          std::vector<float> found = start, again = start;
          backend.matmul(found.data(), a.data(), b.data(), m, n, k, ta, tb, DType::F32, DType::F32, write);
          backend.matmul(again.data(), a.data(), b.data(), m, n, k, ta, tb, DType::F32, DType::F32, write);
          INFO(m, " x ", n, " x ", k, ", transposed ", ta == Transpose::yes, tb == Transpose::yes);
          CHECK(relative_error(doubles(found), expected) <= 1e-5);
          CHECK(found == again);
        }
  }
}

TEST_CASE("linear: products in bf16 are those of the rounded factors, summed in fp32") {
  const auto device = open_device("cpu");
  Backend& backend = device->backend();
  backend.set_product_dtype(DType::BF16);
  auto rounded = [](std::vector<float> x) {
    for (float& value : x) value = to_float(to_bf16(value));
    return x;
  };
  const auto n = 65, k = 130;
  for (int64_t m : {1, 5, 33}) {
    Rng rng = test_rng(m);
    const auto a = random_floats(m * k, rng), b = random_floats(n * k, rng);
    const auto start = random_floats(m * n, rng);
    for (Transpose ta : {Transpose::no, Transpose::yes})
      for (Transpose tb : {Transpose::no, Transpose::yes})
        for (Write write : {Write::set, Write::add}) {
          // The same arrays in double: what they are rounded to is exact there.
          const bool few = m == 1 && ta == Transpose::no && tb == Transpose::yes;  // our own loop, which rounds nothing
          const auto left = few ? a : rounded(a), right = few ? b : rounded(b);
          std::vector<double> x(left.begin(), left.end()), y(right.begin(), right.end());
          std::vector<double> expected(start.begin(), start.end());
          backend.matmul(expected.data(), x.data(), y.data(), m, n, k, ta, tb, DType::F64, DType::F64, write);
          std::vector<float> found = start;
          backend.matmul(found.data(), a.data(), b.data(), m, n, k, ta, tb, DType::F32, DType::F32, write);
          INFO(m, " rows, transposed ", ta == Transpose::yes, tb == Transpose::yes, ", add ", write == Write::add);
          CHECK(relative_error(doubles(found), expected) <= 1e-5);
        }
    const Tensor packed = packed_of(*device, b, n, k);
    const auto left = rounded(a), right = rounded(b);
    std::vector<double> x(left.begin(), left.end()), y(right.begin(), right.end()), expected(m * n);
    backend.matmul(expected.data(), x.data(), y.data(), m, n, k, Transpose::no, Transpose::yes, DType::F64, DType::F64,
                   Write::set);
    std::vector<float> found(m * n);
    multiply_packed(*device, found, a, b, packed, m, n, k);
    CHECK(relative_error(doubles(found), expected) <= 1e-5);
  }
}

TEST_CASE("linear: the same on a processor that has no such products") {
  // oneDNN is told so before it starts: in a process of its own.
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command =
      "DNNL_MAX_CPU_ISA=AVX2 '" + self + "' --no-colors -tc='linear: products in bf16*,linear: packed weights*'";
  std::FILE* run = popen(command.c_str(), "r");
  REQUIRE(run);
  std::string out(1 << 16, '\0');
  out.resize(std::fread(out.data(), 1, out.size(), run));
  CHECK(pclose(run) == 0);
  CHECK_MESSAGE(out.find(" 2 passed | 0 failed") != std::string::npos, out);
}

}  // namespace thinker::test
