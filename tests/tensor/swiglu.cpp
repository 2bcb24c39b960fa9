// SwiGLU: gradients, the formula, extreme gates.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

const Op kSwiglu = [](Tape& tape, const std::vector<Tensor>& x) { return swiglu(tape, x[0], x[1]); };
const Op kSwigluOfOne = [](Tape& tape, const std::vector<Tensor>& x) { return swiglu(tape, x[0], x[0]); };
// What is added later has its gradient first: swiglu's is added to it.
const Op kPlusGate = [](Tape& tape, const std::vector<Tensor>& x) { return add(tape, kSwiglu(tape, x), x[0]); };
const Op kPlusUp = [](Tape& tape, const std::vector<Tensor>& x) { return add(tape, kSwiglu(tape, x), x[1]); };
const Op kPlusBoth = [](Tape& tape, const std::vector<Tensor>& x) { return add(tape, kPlusGate(tape, x), x[1]); };

}  // namespace

TEST_CASE("swiglu: gradients, odd sizes, set and added, and one tensor as gate and up") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  for (const auto& [n, f] : {std::array{1, 1}, {3, 7}, {7, 3}, {5, 19}}) {
    check_op(*device, kSwiglu, {activation({n, f}, rng, 2.0), activation({n, f}, rng)});
    check_op(*device, kSwigluOfOne, {activation({n, f}, rng, 2.0)});
    for (const Op& op : {kPlusGate, kPlusUp, kPlusBoth})
      check_op(*device, op, {activation({n, f}, rng, 2.0), activation({n, f}, rng)});
  }
}

TEST_CASE("swiglu equals its formula") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const std::vector<Input> x = {activation({33, 77}, rng, 5.0), activation({33, 77}, rng)};
  std::vector<double> expected(33 * 77);
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] = x[0].values[i] / (1 + std::exp(-x[0].values[i])) * x[1].values[i];
  check_forward(*device, kSwiglu, x, expected);
  check_f32(*device, kSwiglu, x);
}

TEST_CASE("swiglu: extreme gates stay finite, NaN is not hidden") {
  const auto device = open_device("cpu");
  const Input gate{{1, 5}, {-1e4, 1e4, -100, 90, NAN}, false}, up{{1, 5}, {1, 1, 1, 1, 1}, false};
  const Result r = run<float>(*device, kSwiglu, {gate, up}, {1, 1, 1, 1, 1});
  CHECK(r.y[0] == 0.0);
  CHECK(r.y[1] == 1e4);
  CHECK(r.y[3] == 90.0);
  CHECK(std::isnan(r.y[4]));
  for (int i = 0; i < 4; ++i) {
    CHECK(std::isfinite(r.gradients[0][i]));
    CHECK(std::isfinite(r.gradients[1][i]));
  }
  CHECK(r.gradients[0][1] == 1.0);
  CHECK(r.gradients[0][0] == 0.0);
  CHECK(std::isnan(r.gradients[0][4]));
}

TEST_CASE("swiglu refuses unequal shapes") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  CHECK_THROWS_WITH_AS(run<float>(*device, kSwiglu, {activation({2, 3}, rng), activation({3, 2}, rng)}),
                       doctest::Contains("[swiglu]"), Error);
}

}  // namespace thinker::test
