// Multiplication by a number, and products on top of others.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

TEST_CASE("scale: gradients and values, for one consumer and for several") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  const Op once = [](Tape& tape, const std::vector<Tensor>& x) { return scale(tape, x[0], -1.75); };
  const Op several = [](Tape& tape, const std::vector<Tensor>& x) {
    return add(tape, scale(tape, x[0], 0.5), add(tape, x[0], scale(tape, scale(tape, x[0], 3.0), -0.25)));
  };
  for (const int n : {1, 3, 7}) {
    check_op(*device, once, {activation({n, 5}, rng)});
    check_op(*device, several, {activation({n, 5}, rng)});
  }
  const Input x = activation({301, 333}, rng);
  std::vector<double> expected;
  for (double v : x.values) expected.push_back(-1.75 * v);
  check_forward(*device, once, {x}, expected);
  check_repeats(*device, several, {x});
}

TEST_CASE("scale by 0 keeps NaN; BF16 is refused by name") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  Input x = activation({3, 5}, rng);
  x.values[4] = NAN;
  const Op zero = [](Tape& tape, const std::vector<Tensor>& in) { return scale(tape, in[0], 0.0); };
  CHECK(std::isnan(run<float>(*device, zero, {x}).y[4]));
  Tape tape(*device, Tape::Mode::no_grad);
  CHECK_THROWS_WITH_AS(scale(tape, tape.make({2, 2}, DType::BF16), 2.0), doctest::Contains("BF16"), Error);
}

}  // namespace thinker::test
