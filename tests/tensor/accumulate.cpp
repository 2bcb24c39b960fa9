// Backend::accumulate through a sum, and with it the tape's rule of accumulation.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

const Op kAdd = [](Tape& tape, const std::vector<Tensor>& x) { return add(tape, x[0], x[1]); };

}  // namespace

TEST_CASE("a sum: gradients") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  for (const int n : {1, 3, 7}) check_op(*device, kAdd, {activation({n, 3}, rng), activation({n, 3}, rng)});
}

TEST_CASE("a sum of x and x doubles the gradient") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const Op twice = [](Tape& tape, const std::vector<Tensor>& x) { return add(tape, x[0], x[0]); };
  const Input x = activation({3, 7}, rng);
  check_op(*device, twice, {x});
  const std::vector<double> upstream = random_upstream(21);
  const Result r = run<double>(*device, twice, {x}, upstream);
  for (int i = 0; i < 21; ++i) CHECK(r.gradients[0][i] == 2 * upstream[i]);
}

TEST_CASE("a tensor with several consumers, a parameter used twice") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  // x goes into a sum, a product and a norm; w is a product's weight twice, g a norm's weight twice.
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor a = linear(tape, x[0], x[1]);
    const Tensor b = rmsnorm(tape, add(tape, x[0], a), x[2], 1e-5);
    const Tensor c = linear(tape, b, x[1]);
    const Tensor d = swiglu(tape, rmsnorm(tape, c, x[2], 1e-5), a);
    return add(tape, add(tape, b, x[0]), d);
  };
  check_op(*device, op, {activation({3, 5}, rng), parameter({5, 5}, rng, 0.5), parameter({5}, rng)});
}

TEST_CASE("accumulate over many elements equals a plain sum, and keeps NaN") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(4);
  std::vector<Input> x = {activation({301, 333}, rng), activation({301, 333}, rng)};
  std::vector<double> expected(x[0].values.size());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = x[0].values[i] + x[1].values[i];
  check_forward(*device, kAdd, x, expected);
  x[1].values[5] = NAN;
  CHECK(std::isnan(run<float>(*device, kAdd, x).y[5]));
}

TEST_CASE("accumulate: BF16 is refused by name") {
  const auto device = open_device("cpu");
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor h = tape.make({2, 3}, DType::BF16);
  CHECK_THROWS_WITH_AS(add(tape, h, h), doctest::Contains("BF16"), Error);
}

}  // namespace thinker::test
