// A copy, and the residual connection made of it: y = copy(x), then a product is added to y in place.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

/// x[0] + rmsnorm(x[0]) x[1]^T, the norm with x[2].
Tensor block(Tape& tape, const Tensor& x, const std::vector<Tensor>& w) {
  const Tensor h = rmsnorm(tape, x, w[2], 1e-5), y = copy(tape, x);
  add_linear(tape, y, h, w[1]);
  return y;
}

}  // namespace

TEST_CASE("copy: gradients of a residual connection, and its values") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  const Op residual = [](Tape& tape, const std::vector<Tensor>& x) { return block(tape, x[0], x); };
  const Op two = [](Tape& tape, const std::vector<Tensor>& x) { return block(tape, block(tape, x[0], x), x); };
  const Op plain = [](Tape& tape, const std::vector<Tensor>& x) {
    return add(tape, x[0], linear(tape, rmsnorm(tape, x[0], x[2], 1e-5), x[1]));
  };
  for (const auto& [n, c] : {std::array{1, 1}, {3, 7}, {7, 5}, {40, 33}}) {
    INFO(n, " rows of ", c);
    const std::vector<Input> x = {activation({n, c}, rng), parameter({c, c}, rng, 0.5), parameter({c}, rng)};
    check_op(*device, residual, x);
    check_op(*device, two, x);
    check_forward(*device, residual, x, run<double>(*device, plain, x).y);
  }
}

TEST_CASE("copy: other readers of x, before it and behind it, see x as it was, and their gradients are added") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const Op before = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor h = linear(tape, x[0], x[1]), y = copy(tape, x[0]);
    add_linear(tape, y, h, x[1]);
    return add(tape, y, h);
  };
  const Op behind = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor y = copy(tape, x[0]);
    add_linear(tape, y, x[0], x[1]);
    return add(tape, add(tape, y, x[0]), linear(tape, x[0], x[1]));
  };
  const std::vector<Input> x = {activation({3, 5}, rng), parameter({5, 5}, rng)};
  for (const Op& op : {before, behind}) check_op(*device, op, x);
}

TEST_CASE("copy hands its gradient over: the copy and what was copied have one buffer together") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) { return copy(tape, copy(tape, x[0])); };
  const std::vector<double> upstream = random_upstream(64 * 64);
  const Input x = activation({64, 64}, rng);
  const Result r = run<double>(*device, op, {x}, upstream);
  CHECK(r.y == x.values);
  CHECK(r.gradients[0] == upstream);
  CHECK(device->gradients().high_water() == 64 * 64 * 8);
}

TEST_CASE("copy of what wants no gradient: the weight that is added to the copy has its own all the same") {
  const auto device = open_device("cpu");
  Tape tape(*device, Tape::Mode::record);
  const Tensor x = Tensor::from<float>(*device, {1, 2}, std::vector<float>{3, 5});
  const Tensor w = Tensor::parameter(*device, {2, 2}, DType::F32);
  const Tensor y = copy(tape, x);
  CHECK_FALSE(y.wants_grad());
  add_linear(tape, y, x, w);
  CHECK(y.to_host<float>() == std::vector<float>{3, 5});
  tape.backward<float>(y, std::vector<float>{1, 10});
  CHECK(w.grad_to_host<float>() == std::vector<float>{3, 5, 30, 50});
}

}  // namespace thinker::test
