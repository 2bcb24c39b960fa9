// Token log-probabilities against log(softmax) in double, over several chunks of rows; and the exp beneath.
#include "gradcheck.h"
#include "tensor/cpu/exp.h"

namespace thinker::test {

namespace {

Op logprob_op(std::vector<int32_t> targets) {
  return [targets](Tape& tape, const std::vector<Tensor>& x) {
    return token_logprob(tape, x[0], x[1], indices(tape, targets));
  };
}

std::vector<double> plain_logprob(const std::vector<Input>& x, const std::vector<int32_t>& targets) {
  const int64_t m = x[0].shape[0], c = x[0].shape[1], v = x[1].shape[0];
  std::vector<double> y(m), logits(v);
  for (int64_t i = 0; i < m; ++i) {
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < v; ++j) {
      logits[j] = 0;
      for (int64_t k = 0; k < c; ++k) logits[j] += x[0].values[i * c + k] * x[1].values[j * c + k];
      highest = std::max(highest, logits[j]);
    }
    for (double l : logits) sum += std::exp(l - highest);
    y[i] = logits[targets[i]] - highest - std::log(sum);
  }
  return y;
}

/// Distance in units of the last place of a float of the exact value's size.
double ulps(float x, double exact) {
  const double unit = std::max(std::ldexp(1.0, std::ilogb(exact) - 23), 0x1p-149);
  return std::abs(static_cast<double>(x) - exact) / unit;
}

}  // namespace

TEST_CASE("token_logprob: gradients, odd sizes") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  check_op(*device, logprob_op({0}), {activation({1, 1}, rng), parameter({1, 1}, rng)});
  check_op(*device, logprob_op({6, 0, 6}), {activation({3, 3}, rng), parameter({7, 3}, rng)});
  check_op(*device, logprob_op({1, 2, 0, 2, 2, 1, 0}), {activation({7, 5}, rng), parameter({3, 5}, rng)});
}

TEST_CASE("token_logprob: a head that is a constant gets no gradient") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const std::vector<double> head = normal_values(21, rng);
  const Op op = [head](Tape& tape, const std::vector<Tensor>& x) {
    return token_logprob(tape, x[0], constant(tape, x[0].dtype(), {7, 3}, head), indices(tape, {3, 1}));
  };
  check_op(*device, op, {activation({2, 3}, rng)});
}

TEST_CASE("token_logprob: a tied table is embedding and head, both add to its gradient") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    return token_logprob(tape, embedding(tape, x[0], indices(tape, {4, 0, 4})), x[0], indices(tape, {1, 4, 0}));
  };
  check_op(*device, op, {parameter({5, 3}, rng)});
}

TEST_CASE("token_logprob equals log(softmax), and its gradients the formula, over several tiles") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(4);
  // Tiles have 512 rows and 4,096 columns: the last ones are smaller, and targets lie in every one.
  constexpr int kRows = 700, kWidth = 4, kVocabulary = 9001;
  std::vector<int32_t> targets(kRows);
  for (int32_t& t : targets) t = static_cast<int32_t>(rng.below(kVocabulary));
  const std::vector<Input> x = {activation({kRows, kWidth}, rng), parameter({kVocabulary, kWidth}, rng)};
  check_forward(*device, logprob_op(targets), x, plain_logprob(x, targets));
  check_f32(*device, logprob_op(targets), x);
  check_repeats(*device, logprob_op(targets), x);

  const std::vector<double> upstream = normal_values(kRows, rng);
  std::vector<double> dhidden(kRows * kWidth), dhead(kVocabulary * kWidth);
  const std::vector<double>&hidden = x[0].values, &head = x[1].values;
  for (int i = 0; i < kRows; ++i) {
    std::vector<double> p(kVocabulary);
    double sum = 0;
    for (int j = 0; j < kVocabulary; ++j) {
      for (int k = 0; k < kWidth; ++k) p[j] += hidden[i * kWidth + k] * head[j * kWidth + k];
      sum += p[j] = std::exp(p[j]);
    }
    for (int j = 0; j < kVocabulary; ++j) {
      const double d = upstream[i] * ((j == targets[i]) - p[j] / sum);
      for (int k = 0; k < kWidth; ++k) {
        dhidden[i * kWidth + k] += d * head[j * kWidth + k];
        dhead[j * kWidth + k] += d * hidden[i * kWidth + k];
      }
    }
  }
  const Result r = run<double>(*device, logprob_op(targets), x, upstream);
  const auto furthest = [](const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) worst = worse(worst, std::abs(a[i] - b[i]));
    return worst;
  };
  CHECK(furthest(r.gradients[0], dhidden) < 1e-10);
  CHECK(furthest(r.gradients[1], dhead) < 1e-10);
}

TEST_CASE("token_logprob: logits of 1e4 give finite log-probs and gradients") {
  const auto device = open_device("cpu");
  const Input hidden{{2, 1}, {100, -100}, false}, head{{3, 1}, {100, -100, 0}, true};
  const Result r = run<float>(*device, logprob_op({1, 1}), {hidden, head}, {1, 1});
  CHECK(r.y == std::vector<double>{-20000, 0});
  CHECK(r.gradients[0] == std::vector<double>{-200, 0});
  for (double g : r.gradients[1]) CHECK(std::isfinite(g));
}

TEST_CASE("token_logprob: NaN stays NaN, in its row only") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(5);
  std::vector<Input> x = {activation({3, 2}, rng), parameter({40, 2}, rng)};
  x[0].values[2] = NAN;
  const Result r = run<float>(*device, logprob_op({0, 1, 2}), x, {1, 1, 1});
  for (int i = 0; i < 3; ++i) CHECK(std::isnan(r.y[i]) == (i == 1));
  for (int i = 0; i < 6; ++i) CHECK(std::isnan(r.gradients[0][i]) == (i / 2 == 1));
}

TEST_CASE("token_logprob repeats its bits") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(6);
  check_repeats(*device, logprob_op(std::vector<int32_t>(33, 5)),
                {activation({33, 8}, rng), parameter({3000, 8}, rng)});
}

TEST_CASE("token_logprob refuses shapes that do not fit") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(7);
  CHECK_THROWS_WITH_AS(run<float>(*device, logprob_op({0}), {activation({2, 3}, rng), parameter({7, 3}, rng)}),
                       doctest::Contains("[token_logprob]"), Error);
}

TEST_CASE("exp: error below 2 units in the last place, limits, NaN") {
  double worst = 0;
  for (int i = -870000; i <= 880000; ++i) {
    const float x = static_cast<float>(i) * 1.0001e-4f;
    worst = std::max(worst, ulps(cpu::exp(x), std::exp(static_cast<double>(x))));
  }
  MESSAGE("largest error of exp: ", worst, " ulp");
  CHECK(worst < 2.0);
  for (float x = -103.9f; x < -87.0f; x += 0.01f)  // denormal results
    CHECK(ulps(cpu::exp(x), std::exp(static_cast<double>(x))) < 2.0);
  CHECK(cpu::exp(0.0f) == 1.0f);
  CHECK(cpu::exp(-0.0f) == 1.0f);
  CHECK(cpu::exp(88.7f) == doctest::Approx(std::exp(88.7)));
  CHECK(cpu::exp(89.0f) == INFINITY);
  CHECK(cpu::exp(INFINITY) == INFINITY);
  CHECK(cpu::exp(1e30f) == INFINITY);
  CHECK(cpu::exp(-104.5f) == 0.0f);
  CHECK(cpu::exp(-1e30f) == 0.0f);
  CHECK(cpu::exp(-INFINITY) == 0.0f);
  CHECK(std::isnan(cpu::exp(NAN)));
}

}  // namespace thinker::test
