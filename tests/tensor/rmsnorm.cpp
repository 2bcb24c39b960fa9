// RMSNorm: gradients, and the formula written out.
#include "gradcheck.h"

namespace thinker::test {

namespace {

constexpr double kEps = 1e-5;

const Op kNorm = [](Tape& tape, const std::vector<Tensor>& x) { return rmsnorm(tape, x[0], x[1], kEps); };

std::vector<double> plain_norm(const Input& x, const Input& w) {
  const int64_t n = x.shape[0], c = x.shape[1];
  std::vector<double> y(n * c);
  for (int64_t i = 0; i < n; ++i) {
    double squares = 0;
    for (int64_t j = 0; j < c; ++j) squares += x.values[i * c + j] * x.values[i * c + j];
    const double rms = std::sqrt(squares / static_cast<double>(c) + kEps);
    for (int64_t j = 0; j < c; ++j) y[i * c + j] = x.values[i * c + j] / rms * w.values[j];
  }
  return y;
}

}  // namespace

TEST_CASE("rmsnorm: gradients, odd sizes") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  for (const auto& [n, c] : {std::array{1, 1}, {1, 7}, {3, 3}, {7, 1}, {5, 18}}) {
    INFO(n, " x ", c);
    const std::vector<Input> x = {activation({n, c}, rng), parameter({c}, rng)};
    check_gradients(*device, kNorm, x);
    // A single column's gradient is zero but for eps: what F32 leaves of it is rounding.
    if (c > 1) check_f32(*device, kNorm, x);
  }
}

TEST_CASE("rmsnorm equals its formula and repeats its bits, also over many rows") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  for (const auto& [n, c] : {std::array{3, 576}, {200, 77}, {130, 576}}) {
    const std::vector<Input> x = {activation({n, c}, rng, 3.0), parameter({c}, rng)};
    check_forward(*device, kNorm, x, plain_norm(x[0], x[1]));
    check_f32(*device, kNorm, x);
    check_repeats(*device, kNorm, x);
  }
}

TEST_CASE("rmsnorm of heads: each group of a row is normed by itself, with one weight for all") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(7);
  for (const auto& [n, heads, d] : {std::array{1, 3, 2}, {5, 3, 10}, {70, 2, 128}}) {
    const std::vector<Input> x = {activation({n, heads * d}, rng), parameter({d}, rng)};
    const Input groups{{n * heads, d}, x[0].values, false};
    check_forward(*device, kNorm, x, plain_norm(groups, x[1]));
    if (n < 70) check_gradients(*device, kNorm, x);
    check_f32(*device, kNorm, x);
  }
}

TEST_CASE("rmsnorm of zeros is zero: eps holds") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  const Input zeros{{2, 3}, std::vector<double>(6, 0.0), false};
  const Result r = run<float>(*device, kNorm, {zeros, parameter({3}, rng)}, random_upstream(6));
  CHECK(r.y == std::vector<double>(6, 0.0));
  for (double g : r.gradients[0]) CHECK(std::isfinite(g));
}

TEST_CASE("rmsnorm keeps NaN, in its row only") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(4);
  Input x = activation({3, 5}, rng);
  x.values[7] = NAN;
  const std::vector<double> y = run<float>(*device, kNorm, {x, parameter({5}, rng)}).y;
  for (int i = 0; i < 15; ++i) CHECK(std::isnan(y[i]) == (i / 5 == 1));
}

TEST_CASE("rmsnorm: a constant weight gets no gradient, the input does") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(5);
  const std::vector<double> w = normal_values(3, rng);
  const Op op = [w](Tape& tape, const std::vector<Tensor>& x) {
    return rmsnorm(tape, x[0], constant(tape, x[0].dtype(), {3}, w), kEps);
  };
  check_op(*device, op, {activation({4, 3}, rng)});
}

TEST_CASE("rmsnorm refuses a weight that does not fit") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(6);
  CHECK_THROWS_WITH_AS(run<float>(*device, kNorm, {activation({2, 3}, rng), parameter({4}, rng)}),
                       doctest::Contains("[rmsnorm]"), Error);
}

}  // namespace thinker::test
