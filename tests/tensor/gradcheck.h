// Checks of a differentiable op, on the CPU:
// - check_gradients compares every input's gradient with central differences, in F64, under a random upstream gradient;
// - check_f32 compares the F32 kernels, outputs and gradients, with the F64 ones;
// - check_repeats runs the op twice in F32 and wants equal bits.
// All comparisons are written so that NaN fails.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "tensor/ops.h"
#include "tensor/rng.h"

namespace thinker::test {

/// One input of the op under test: an activation or a parameter, with its values.
struct Input {
  Shape shape;
  std::vector<double> values;
  bool is_parameter = false;
};

/// Builds the op's output from tensors made of the inputs, in their order.
using Op = std::function<Tensor(Tape&, const std::vector<Tensor>&)>;

inline std::vector<double> normal_values(int64_t n, Rng& rng, double scale = 1.0) {
  std::vector<double> x(n);
  for (double& v : x) v = scale * rng.normal();
  return x;
}

inline std::vector<float> random_floats(int64_t n, Rng& rng) {
  const std::vector<double> x = normal_values(n, rng);
  return {x.begin(), x.end()};
}

/// The larger of `worst` and an error: infinity, for good, where that is NaN.
inline double worse(double worst, double error) {
  return std::isnan(error) ? INFINITY : std::max(worst, error);
}

/// How far out (m, n) is from a (m, k) . weight (n, k)^T at most, each number as a part of its products' sizes added
/// up; infinity where it is NaN.
inline double product_error(const std::vector<float>& out, const std::vector<float>& a,
                            const std::vector<float>& weight, int64_t m, int64_t n, int64_t k) {
  double worst = 0.0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0.0, size = 0.0;
      for (int64_t l = 0; l < k; ++l) {
        const double x = static_cast<double>(a[i * k + l]) * weight[j * k + l];
        sum += x;
        size += std::abs(x);
      }
      worst = worse(worst, std::abs(out[i * n + j] - sum) / (size + 1e-30));
    }
  return worst;
}

inline Rng test_rng(uint64_t seed) {
  return Rng(seed, Purpose::generate_data);
}

inline Input activation(const Shape& shape, Rng& rng, double scale = 1.0) {
  return {shape, normal_values(shape.numel(), rng, scale), false};
}

inline Input parameter(const Shape& shape, Rng& rng, double scale = 1.0) {
  return {shape, normal_values(shape.numel(), rng, scale), true};
}

/// The values in the dtype that the op runs in, as a constant: no gradient.
inline Tensor constant(Tape& tape, DType t, const Shape& shape, const std::vector<double>& values) {
  if (t == DType::F64) return Tensor::from<double>(tape.device(), shape, values);
  return Tensor::from<float>(tape.device(), shape, std::vector<float>(values.begin(), values.end()));
}

inline Tensor parameter_of(Device& device, const Shape& shape, const std::vector<float>& values) {
  Tensor w = Tensor::parameter(device, shape, DType::F32);
  device.backend().copy_from_host(w.raw(), values.data(), w.bytes());
  return w;
}

inline Tensor indices(Tape& tape, const std::vector<int32_t>& values) {
  return tape.from<int32_t>(values);
}

struct Result {
  std::vector<double> y;
  std::vector<std::vector<double>> gradients;  // one an input; empty without upstream
};

template <class T>
Tensor make_input(Tape& tape, const Input& input) {
  const std::vector<T> values(input.values.begin(), input.values.end());
  if (!input.is_parameter) return tape.from<T>(input.shape, values);
  Tensor x = Tensor::parameter(tape.device(), input.shape, DTypeOf<T>::value);
  if (!values.empty()) tape.backend().copy_from_host(x.raw(), values.data(), x.bytes());
  return x;
}

template <class T>
std::vector<double> doubles(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

/// Runs the op in T, and its backward when there is an upstream gradient.
template <class T>
Result run(Device& device, const Op& op, const std::vector<Input>& inputs, const std::vector<double>& upstream = {}) {
  Tape tape(device, upstream.empty() ? Tape::Mode::no_grad : Tape::Mode::record);
  std::vector<Tensor> x;
  for (const Input& input : inputs) x.push_back(make_input<T>(tape, input));
  const Tensor y = op(tape, x);
  Result result{doubles(y.to_host<T>()), {}};
  if (upstream.empty()) return result;
  tape.backward<T>(y, std::vector<T>(upstream.begin(), upstream.end()));
  for (const Tensor& input : x) result.gradients.push_back(doubles(input.grad_to_host<T>()));
  return result;
}

/// The largest |a - b| relative to the largest |b|; infinity where there is a NaN.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, largest = 1e-30;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = worse(difference, std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  return difference / largest;
}

inline std::vector<double> random_upstream(size_t n) {
  Rng rng = test_rng(99);
  return normal_values(static_cast<int64_t>(n), rng);
}

/// Central differences of sum(upstream * y): their error at this step is about 1e-9 for values of order one.
inline void check_gradients(Device& device, const Op& op, std::vector<Input> inputs) {
  constexpr double kStep = 1e-5, kTolerance = 1e-7;
  const std::vector<double> upstream = random_upstream(run<double>(device, op, inputs).y.size());
  const auto loss = [&] {
    const std::vector<double> y = run<double>(device, op, inputs).y;
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += upstream[i] * y[i];
    return sum;
  };
  const Result analytic = run<double>(device, op, inputs, upstream);
  for (size_t n = 0; n < inputs.size(); ++n) {
    for (size_t i = 0; i < inputs[n].values.size(); ++i) {
      double& x = inputs[n].values[i];
      const double before = x;
      x = before + kStep;
      const double above = loss();
      x = before - kStep;
      const double below = loss();
      x = before;
      const double numeric = (above - below) / (2 * kStep), gradient = analytic.gradients[n][i];
      INFO("input ", n, ", element ", i, ": gradient ", gradient, ", central difference ", numeric);
      const bool close = std::abs(gradient - numeric) <= kTolerance * (1 + std::abs(numeric));
      REQUIRE(close);
    }
  }
}

/// Rounding of F32 against F64. Gradients get more room: they are sums of products of rounded values.
inline void check_f32(Device& device, const Op& op, const std::vector<Input>& inputs) {
  // F64 starts from the values that F32 can hold, so that only the kernels differ.
  std::vector<Input> rounded = inputs;
  for (Input& input : rounded)
    for (double& x : input.values) x = static_cast<float>(x);
  const std::vector<double> upstream = random_upstream(run<double>(device, op, rounded).y.size());
  const Result exact = run<double>(device, op, rounded, upstream);
  const Result single = run<float>(device, op, rounded, upstream);
  CHECK(relative_error(single.y, exact.y) < 1e-5);
  for (size_t i = 0; i < inputs.size(); ++i) {
    INFO("gradient of input ", i);
    CHECK(relative_error(single.gradients[i], exact.gradients[i]) < 1e-4);
  }
}

inline bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

inline void check_repeats(Device& device, const Op& op, const std::vector<Input>& inputs) {
  const std::vector<double> upstream = random_upstream(run<float>(device, op, inputs).y.size());
  const Result first = run<float>(device, op, inputs, upstream);
  for (int again = 0; again < 3; ++again) {
    const Result second = run<float>(device, op, inputs, upstream);
    CHECK(same_bits(first.y, second.y));
    for (size_t i = 0; i < inputs.size(); ++i) CHECK(same_bits(first.gradients[i], second.gradients[i]));
  }
}

inline void check_op(Device& device, const Op& op, const std::vector<Input>& inputs) {
  check_gradients(device, op, inputs);
  check_f32(device, op, inputs);
}

/// The op's output in F64, against values that the test computed in another way.
inline void check_forward(Device& device, const Op& op, const std::vector<Input>& inputs,
                          const std::vector<double>& expected) {
  CHECK(relative_error(run<double>(device, op, inputs).y, expected) < 1e-12);
  CHECK(relative_error(run<float>(device, op, inputs).y, expected) < 1e-5);
}

}  // namespace thinker::test
