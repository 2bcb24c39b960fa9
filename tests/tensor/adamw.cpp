// AdamW's moments in 16 and 8 bits: the codes, rounding at random, and one step against the rule in fp32.
#include "tensor/adamw.h"

#include <array>
#include <vector>

#include "gradcheck.h"
#include "threads.h"

namespace thinker::test {

namespace {

template <int kBits>
std::vector<float> values_of_codes() {
  std::vector<float> values;
  for (int k = 0; k < (1 << kBits); ++k) values.push_back(code_value(kBits, k));
  return values;
}

/// Every code is its own value's, and between two codes the mean over all random bits is the number.
template <int kBits>
void check_codes() {
  const std::vector<float> values = values_of_codes<kBits>();
  CHECK(values.front() == 0.0f);
  CHECK(values.back() == 1.0f);
  CHECK(values[1] < std::pow(10.0f, static_cast<float>(1 - kBits)));
  for (int k = 0; k + 1 < (1 << kBits); ++k) {
    CAPTURE(k);
    REQUIRE(values[k] < values[k + 1]);
    for (uint32_t bits : {0u, 30000u, 65535u}) {
      // A value that division moved by one rounding may take a neighbour, with the smallest probability.
      const int code = code_at_random<kBits>(values[k], bits, values.data());
      CHECK((code == k || (bits == 0 && code == k + 1) || (bits == 65535 && code == k - 1)));
    }
    const float between = values[k] + 0.25f * (values[k + 1] - values[k]);
    CHECK(code_at_random<kBits>(between, 15000, values.data()) == k + 1);
    CHECK(code_at_random<kBits>(between, 17500, values.data()) == k);
  }
  CHECK(code_at_random<kBits>(1.0f, 65535, values.data()) == (1 << kBits) - 1);
  for (float odd : {0.0f, -1.0f, INFINITY, NAN}) CHECK(code_at_random<kBits>(odd, 0, values.data()) == 0);
}

AdamWStep step_of(uint32_t number) {
  AdamWStep o{1e-3, 0.9, 0.999, 1e-8, 0.1, 0, 0, 1.0, number};
  o.correction1 = 1 - std::pow(o.beta1, number);
  o.correction2 = 1 - std::pow(o.beta2, number);
  return o;
}

/// Weights with their moments in one of the formats.
struct Compact {
  OptimizerState format;
  std::vector<float> w;
  std::vector<uint8_t> m, v;
  std::vector<float> m_scale, v_scale;

  Compact(OptimizerState f, std::vector<float> weights)
      : format(f),
        w(std::move(weights)),
        m(2 * w.size()),
        v(2 * w.size()),
        m_scale((w.size() + kMomentBlock - 1) / kMomentBlock),
        v_scale(m_scale.size()) {}

  void step(Backend& backend, std::vector<float> grad, const AdamWStep& o) {
    const AdamWSlot slot{w.data(),
                         w.data(),
                         m.data(),
                         v.data(),
                         m_scale.data(),
                         v_scale.data(),
                         grad.data(),
                         static_cast<int64_t>(w.size()),
                         true};
    backend.adamw({&slot, 1}, format, o, DType::F32);
  }
  double second_moment(size_t i) const {
    if (format == OptimizerState::bf16) return from_bf16(reinterpret_cast<const bf16*>(v.data())[i]);
    const double root = v_scale[i / kMomentBlock] * code_value(kRootBits, v[i]);
    return root * root;
  }
  double first_moment(size_t i) const {
    if (format == OptimizerState::bf16) return from_bf16(reinterpret_cast<const bf16*>(m.data())[i]);
    return (m[i] & 0x80 ? -1.0 : 1.0) * m_scale[i / kMomentBlock] * code_value(kMomentBits, m[i] & 0x7f);
  }
};

constexpr OptimizerState kFormats[] = {OptimizerState::bf16, OptimizerState::eight_bit};

std::vector<float> floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("adamw in 8 bits: codes keep their values, their order, and the mean of what lies between") {
  check_codes<kMomentBits>();
  check_codes<kRootBits>();
}

TEST_CASE("adamw in bf16: rounding at random is right on average, and keeps what is not finite") {
  const float x = 1.0f + 0x1p-7f * 0.3f;  // three tenths of the way to the next bf16 number
  double sum = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) sum += from_bf16(to_bf16_at_random(x, bits));
  CHECK(sum / 65536 == doctest::Approx(x).epsilon(1e-6));
  CHECK(from_bf16(to_bf16_at_random(-1.5f, 65535)) == -1.5f);
  CHECK(std::isinf(from_bf16(to_bf16_at_random(-INFINITY, 65535))));
  for (uint32_t bits : {0u, 65535u}) {
    CHECK(std::isnan(from_bf16(to_bf16_at_random(NAN, bits))));
    CHECK(std::isnan(from_bf16(to_bf16_at_random(std::bit_cast<float>(0x7f800001u), bits))));
  }
}

TEST_CASE("adamw with compact moments: the first step is fp32's, as both begin with zeros") {
  const auto backend = make_cpu_backend();
  Rng rng = test_rng(4);
  for (OptimizerState format : kFormats) {
    for (int64_t n : {1, 255, 256, 257, 10007}) {
      const std::vector<float> start = floats(normal_values(n, rng)), grad = floats(normal_values(n, rng));
      Compact compact(format, start);
      std::vector<float> w = start, m(n), v(n), g = grad;
      compact.step(*backend, grad, step_of(1));
      const AdamWSlot slot{w.data(), w.data(), m.data(), v.data(), nullptr, nullptr, g.data(), n, true};
      backend->adamw({&slot, 1}, OptimizerState::f32, step_of(1), DType::F32);
      CHECK(relative_error(doubles(compact.w), doubles(w)) <= 1e-6);
    }
  }
}

TEST_CASE("adamw with compact moments: v does not stall where rounding to the nearest would lose every update") {
  const auto backend = make_cpu_backend();
  constexpr int kWeights = 512, kSteps = 3000;
  for (OptimizerState format : kFormats) {
    CAPTURE(static_cast<int>(format));
    Compact compact(format, std::vector<float>(kWeights, 1.0f));
    // v rises to 1; then gradients of 0.5 let it fall to a quarter: a thousandth of the difference a step, either way.
    // Every 256th gradient is 4 throughout, so that the scale of its block does not move with the others.
    double exact = 0, mean = 0;
    for (int s = 1; s <= 2 * kSteps; ++s) {
      const float g = s <= kSteps ? 1.0f : 0.5f;
      std::vector<float> grad(kWeights, g);
      for (int i = 0; i < kWeights; i += kMomentBlock) grad[i] = 4.0f;
      compact.step(*backend, grad, step_of(s));
      exact = 0.999 * exact + 0.001 * g * g;
      if (s % kSteps != 0) continue;
      mean = 0;
      for (int i = 0; i < kWeights; ++i)
        if (i % kMomentBlock != 0) mean += compact.second_moment(i) / (kWeights - 2);
      CHECK(mean == doctest::Approx(exact).epsilon(0.05));
    }
  }
}

TEST_CASE("adamw in 8 bits: a gradient far below its block's greatest takes steps of the usual size") {
  const auto backend = make_cpu_backend();
  // 1e-5 of the greatest: v is 1e-10 of the greatest v, below what eight bits tell of v itself.
  std::vector<float> grad(kMomentBlock, 1e-5f);
  grad[0] = 1.0f;
  Compact compact(OptimizerState::eight_bit, std::vector<float>(kMomentBlock, 0.0f));
  for (int s = 1; s <= 100; ++s) compact.step(*backend, grad, step_of(s));
  for (int i = 1; i < kMomentBlock; ++i) {
    CHECK(compact.w[i] < -0.02);  // 100 steps of 1e-3 in fp32
    CHECK(compact.w[i] > -0.3);
  }
}

TEST_CASE("adamw with compact moments: threads do not matter, step and place do, and NaN is not hidden") {
  const auto backend = make_cpu_backend();
  Rng rng = test_rng(5);
  const std::vector<float> start = floats(normal_values(10007, rng)), grad = floats(normal_values(10007, rng));
  for (OptimizerState format : kFormats) {
    Compact one(format, start), two(format, start), other(format, start);
    one.step(*backend, grad, step_of(1));
    {
      const Threads more(omp_get_max_threads() + 1);
      two.step(*backend, grad, step_of(1));
    }
    CHECK(one.w == two.w);
    CHECK(one.m == two.m);
    CHECK(one.v == two.v);
    AdamWStep renumbered = step_of(1);
    renumbered.number = 2;
    other.step(*backend, grad, renumbered);
    CHECK(one.w == other.w);
    CHECK(one.m != other.m);

    Compact equal(format, std::vector<float>(300, 1.0f));
    std::vector<float> same(300, 0.3f);
    same[0] = 1.0f;
    equal.step(*backend, same, step_of(1));
    bool differ = false;
    for (size_t i = 2; i < kMomentBlock; ++i) differ = differ || equal.first_moment(i) != equal.first_moment(1);
    CHECK(differ);

    same[5] = NAN;
    equal.step(*backend, same, step_of(2));
    CHECK(std::isnan(equal.w[5]));
    CHECK(std::isfinite(equal.w[6]));
  }
}

}  // namespace thinker::test
