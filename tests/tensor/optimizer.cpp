// AdamW and the norm of gradients, against the formulas written one element at a time in double.
#include <omp.h>

#include <cmath>
#include <vector>

#include "gradcheck.h"

namespace thinker::test {

namespace {

constexpr int64_t kCount = 10007;

struct State {
  std::vector<double> weight, m, v;
};

/// Algorithm 2 of Loshchilov & Hutter, with the schedule's factor folded into lr.
void plain_step(State& s, const std::vector<double>& grad, int step, const AdamWStep& o) {
  for (size_t i = 0; i < grad.size(); ++i) {
    const double g = o.grad_scale * grad[i];
    s.m[i] = o.beta1 * s.m[i] + (1 - o.beta1) * g;
    s.v[i] = o.beta2 * s.v[i] + (1 - o.beta2) * g * g;
    const double m_hat = s.m[i] / (1 - std::pow(o.beta1, step)), v_hat = s.v[i] / (1 - std::pow(o.beta2, step));
    s.weight[i] -= o.lr * (m_hat / (std::sqrt(v_hat) + o.eps) + o.weight_decay * s.weight[i]);
  }
}

AdamWStep options(int step) {
  AdamWStep o{1e-2, 0.9, 0.95, 1e-8, 0.1, 0, 0, 0.5};
  o.correction1 = 1 - std::pow(o.beta1, step);
  o.correction2 = 1 - std::pow(o.beta2, step);
  return o;
}

template <class T>
void check_adamw(double tolerance) {
  const auto backend = make_cpu_backend();
  Rng rng = test_rng(1);
  State expected{normal_values(kCount, rng), std::vector<double>(kCount, 0.0), std::vector<double>(kCount, 0.0)};
  std::vector<T> weight(expected.weight.begin(), expected.weight.end()), m(kCount, T(0)), v(kCount, T(0));
  expected.weight = doubles(weight);
  for (int step = 1; step <= 5; ++step) {
    const std::vector<double> draw = normal_values(kCount, rng);
    const std::vector<T> grad(draw.begin(), draw.end());
    plain_step(expected, doubles(grad), step, options(step));
    backend->adamw(weight.data(), weight.data(), m.data(), v.data(), grad.data(), kCount, options(step),
                   DTypeOf<T>::value);
  }
  CHECK(relative_error(doubles(weight), expected.weight) <= tolerance);
  CHECK(relative_error(doubles(m), expected.m) <= tolerance);
  CHECK(relative_error(doubles(v), expected.v) <= tolerance);
}

}  // namespace

TEST_CASE("adamw equals its formula over five steps") {
  check_adamw<double>(1e-14);
  check_adamw<float>(1e-6);
}

TEST_CASE("adamw: zero gradients only decay, and move nothing else") {
  const auto backend = make_cpu_backend();
  std::vector<double> w = {2.0}, m = {0.0}, v = {0.0}, g = {0.0};
  backend->adamw(w.data(), w.data(), m.data(), v.data(), g.data(), 1, options(1), DType::F64);
  CHECK(w[0] == doctest::Approx(2.0 * (1 - 1e-2 * 0.1)));
  CHECK(m[0] == 0.0);
  CHECK(v[0] == 0.0);
}

TEST_CASE("adamw with BF16 weights: the master moves by steps that BF16 cannot hold") {
  const auto backend = make_cpu_backend();
  std::vector<float> master = {1.0f}, m = {0.0f}, v = {0.0f}, grad = {1.0f};
  std::vector<bf16> weight = {to_bf16(1.0f)};
  AdamWStep o = options(1);
  o.lr = 1e-4;
  o.weight_decay = 0;
  for (int step = 1; step <= 60; ++step) {
    o.correction1 = 1 - std::pow(o.beta1, step);
    o.correction2 = 1 - std::pow(o.beta2, step);
    backend->adamw(weight.data(), master.data(), m.data(), v.data(), grad.data(), 1, o, DType::BF16);
    CHECK(weight[0].bits == to_bf16(master[0]).bits);
  }
  CHECK(master[0] == doctest::Approx(1 - 60e-4).epsilon(1e-5));
  CHECK(to_float(weight[0]) < 1.0f);  // a single step would have been rounded away
}

TEST_CASE("adamw does not hide NaN") {
  const auto backend = make_cpu_backend();
  std::vector<float> w = {1, 1}, m = {0, 0}, v = {0, 0}, g = {NAN, 1};
  backend->adamw(w.data(), w.data(), m.data(), v.data(), g.data(), 2, options(1), DType::F32);
  CHECK(std::isnan(w[0]));
  CHECK(std::isfinite(w[1]));
}

TEST_CASE("sum_of_squares: in double, the same for any number of threads") {
  const auto backend = make_cpu_backend();
  Rng rng = test_rng(2);
  const std::vector<double> draw = normal_values(100003, rng);
  const std::vector<float> x(draw.begin(), draw.end());
  double expected = 0;
  for (float value : x) expected += static_cast<double>(value) * value;
  const double sum = backend->sum_of_squares(x.data(), 100003, DType::F32);
  CHECK(sum == doctest::Approx(expected).epsilon(1e-13));
  const int threads = omp_get_max_threads();
  omp_set_num_threads(threads + 1);
  CHECK(backend->sum_of_squares(x.data(), 100003, DType::F32) == sum);
  omp_set_num_threads(threads);
  CHECK(backend->sum_of_squares(x.data(), 0, DType::F32) == 0.0);
  const std::vector<float> bad = {1.0f, NAN};
  CHECK(std::isnan(backend->sum_of_squares(bad.data(), 2, DType::F32)));
}

}  // namespace thinker::test
