// AdamW and the norm of gradients, against the formulas written one element at a time in double.
#include <cmath>
#include <cstring>
#include <vector>

#include "gradcheck.h"
#include "threads.h"

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

/// One tensor that decays; its weights are their own master.
template <class T>
void step_one(Backend& backend, std::vector<T>& w, std::vector<T>& m, std::vector<T>& v, std::vector<T> grad,
              const AdamWStep& o) {
  const AdamWSlot slot{
      w.data(), w.data(), m.data(), v.data(), nullptr, nullptr, grad.data(), static_cast<int64_t>(w.size()), true};
  backend.adamw({&slot, 1}, OptimizerState::f32, o, DTypeOf<T>::value);
}

double sum_of_squares(Backend& backend, const std::vector<float>& x) {
  const ArrayView array{x.data(), static_cast<int64_t>(x.size())};
  return backend.sum_of_squares({&array, 1}, DType::F32);
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
    step_one(*backend, weight, m, v, grad, options(step));
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
  step_one(*backend, w, m, v, g, options(1));
  CHECK(w[0] == doctest::Approx(2.0 * (1 - 1e-2 * 0.1)));
  CHECK(m[0] == 0.0);
  CHECK(v[0] == 0.0);
}

TEST_CASE("adamw with BF16 weights: the master moves by steps that BF16 cannot hold") {
  const auto backend = make_cpu_backend();
  std::vector<float> master = {1.0f}, m = {0.0f}, v = {0.0f}, grad = {1.0f};
  std::vector<bf16> weight = {to_bf16(1.0f)};
  const AdamWSlot slot{weight.data(), master.data(), m.data(), v.data(), nullptr, nullptr, grad.data(), 1, true};
  AdamWStep o = options(1);
  o.lr = 1e-4;
  o.weight_decay = 0;
  for (int step = 1; step <= 60; ++step) {
    o.correction1 = 1 - std::pow(o.beta1, step);
    o.correction2 = 1 - std::pow(o.beta2, step);
    grad[0] = 1.0f;  // a step clears it
    backend->adamw({&slot, 1}, OptimizerState::f32, o, DType::BF16);
    CHECK(weight[0].bits == to_bf16(master[0]).bits);
  }
  CHECK(master[0] == doctest::Approx(1 - 60e-4).epsilon(1e-5));
  CHECK(to_float(weight[0]) < 1.0f);  // a single step would have been rounded away
}

TEST_CASE("adamw does not hide NaN") {
  const auto backend = make_cpu_backend();
  std::vector<float> w = {1, 1}, m = {0, 0}, v = {0, 0}, g = {NAN, 1};
  step_one(*backend, w, m, v, g, options(1));
  CHECK(std::isnan(w[0]));
  CHECK(std::isfinite(w[1]));
}

TEST_CASE("adamw and sum_of_squares of many tensors at once: the bits of each alone, decay where it is due") {
  const auto backend = make_cpu_backend();
  for (OptimizerState state : {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit}) {
    CAPTURE(static_cast<int>(state));
    Rng rng = test_rng(3);
    // One after the other in one array; moments and scales are given more room than they need.
    std::vector<int64_t> sizes = {1, 0, 255, 256, 257, 2047, 2049, 30000};
    for (int i = 0; i < 50; ++i) sizes.push_back(17 + 100 * i);
    int64_t total = 0;
    for (int64_t n : sizes) total += n;
    const std::vector<double> start = normal_values(total, rng), draw = normal_values(total, rng);
    struct Arrays {
      std::vector<float> w, grad, m, v, m_scale, v_scale;
    };
    const auto fresh = [&] {
      const auto count = static_cast<size_t>(total);
      return Arrays{{start.begin(), start.end()}, {draw.begin(), draw.end()}, std::vector<float>(count),
                    std::vector<float>(count),    std::vector<float>(count),  std::vector<float>(count)};
    };
    const auto slots_of = [&](Arrays& a) {
      std::vector<AdamWSlot> slots;
      int64_t at = 0;
      for (int64_t n : sizes) {
        slots.push_back({&a.w[at], &a.w[at], &a.m[at], &a.v[at], &a.m_scale[at], &a.v_scale[at], &a.grad[at], n,
                         slots.size() % 3 != 0});
        at += n;
      }
      return slots;
    };
    Arrays alone = fresh(), together = fresh();
    double squares = 0;
    AdamWStep o = options(1);
    o.number = 1;
    for (const AdamWSlot& slot : slots_of(alone)) {
      const ArrayView gradient{slot.grad, slot.n};
      squares += backend->sum_of_squares({&gradient, 1}, DType::F32);
      AdamWStep own = o;
      own.weight_decay = slot.decays ? o.weight_decay : 0;
      backend->adamw({&slot, 1}, state, own, DType::F32);
    }
    const std::vector<AdamWSlot> slots = slots_of(together);
    std::vector<ArrayView> gradients;
    for (const AdamWSlot& slot : slots) gradients.push_back({slot.grad, slot.n});
    {
      const Threads more(omp_get_max_threads() + 1);
      CHECK(backend->sum_of_squares(gradients, DType::F32) == squares);
      backend->adamw(slots, state, o, DType::F32);
    }
    CHECK(together.w == alone.w);
    CHECK(together.w != std::vector<float>(start.begin(), start.end()));
    CHECK(std::memcmp(together.m.data(), alone.m.data(), 4 * alone.m.size()) == 0);
    CHECK(std::memcmp(together.v.data(), alone.v.data(), 4 * alone.v.size()) == 0);
    CHECK(together.m_scale == alone.m_scale);
    CHECK(together.v_scale == alone.v_scale);
    CHECK(together.grad == std::vector<float>(together.grad.size()));
  }
}

TEST_CASE("sum_of_squares: in double, the same for any number of threads") {
  const auto backend = make_cpu_backend();
  Rng rng = test_rng(2);
  const std::vector<double> draw = normal_values(100003, rng);
  const std::vector<float> x(draw.begin(), draw.end());
  double expected = 0;
  for (float value : x) expected += static_cast<double>(value) * value;
  const double sum = sum_of_squares(*backend, x);
  CHECK(sum == doctest::Approx(expected).epsilon(1e-13));
  {
    const Threads more(omp_get_max_threads() + 1);
    CHECK(sum_of_squares(*backend, x) == sum);
  }
  CHECK(sum_of_squares(*backend, {}) == 0.0);
  const std::vector<float> bad = {1.0f, NAN};
  CHECK(std::isnan(sum_of_squares(*backend, bad)));
}

}  // namespace thinker::test
