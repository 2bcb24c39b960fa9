// Weighted sums over sequences: empty sequences, rows outside of all, gradients.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

Op sum_op(std::vector<double> weight, std::vector<int32_t> offsets) {
  return [=](Tape& tape, const std::vector<Tensor>& x) {
    const auto n = static_cast<int64_t>(weight.size());
    return masked_sum(tape, x[0], constant(tape, x[0].dtype(), {n}, weight), indices(tape, offsets));
  };
}

}  // namespace

TEST_CASE("masked_sum: gradients") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  check_op(*device, sum_op({0.5}, {0, 1}), {activation({1}, rng)});
  check_op(*device, sum_op({1, 0, 1, -2, 0.25, 3, 1}, {0, 3, 3, 7}), {activation({7}, rng)});
}

TEST_CASE("masked_sum: values, empty sequences, rows outside of every sequence") {
  const auto device = open_device("cpu");
  const Input x{{7}, {1, 2, 3, 4, 5, 6, 7}, false};
  const Result r = run<float>(*device, sum_op({1, 1, 0, 2, 1, 1, 1}, {1, 3, 3, 5}), {x}, {10, 20, 30});
  CHECK(r.y == std::vector<double>{2, 0, 13});
  CHECK(r.gradients[0] == std::vector<double>{0, 10, 0, 60, 30, 0, 0});
}

TEST_CASE("masked_sum: two sums over the same values add their gradients") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    return add(tape, sum_op({1, 1, 1, 1, 1}, {0, 2, 4})(tape, x), sum_op({2, 0, 3, 0, 1}, {1, 4, 5})(tape, x));
  };
  check_op(*device, op, {activation({5}, rng)});
}

TEST_CASE("masked_sum of a long sequence is exact to rounding; NaN in a masked row is not hidden") {
  const auto device = open_device("cpu");
  std::vector<double> values(4000), ones(4000, 1.0);
  double expected = 0;
  for (size_t i = 0; i < values.size(); ++i) expected += values[i] = static_cast<float>(-0.1 - 1e-3 * (i % 17));
  Input x{{4000}, values, false};
  CHECK(run<float>(*device, sum_op(ones, {0, 4000}), {x}).y[0] == static_cast<float>(expected));
  x.values[7] = NAN;
  ones[7] = 0;
  CHECK(std::isnan(run<float>(*device, sum_op(ones, {0, 4000}), {x}).y[0]));
}

TEST_CASE("masked_sum refuses a weight of another shape") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  CHECK_THROWS_WITH_AS(run<float>(*device, sum_op({1, 1}, {0, 2}), {activation({3}, rng)}),
                       doctest::Contains("[masked_sum]"), Error);
}

}  // namespace thinker::test
