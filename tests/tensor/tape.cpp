// The tape: order, accumulation, lifetime.
#include "tensor/tape.h"

#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

TEST_CASE("a handle kept past its tape throws") {
  const auto device = open_device("cpu");
  Tensor kept;
  {
    Tape tape(*device, Tape::Mode::no_grad);
    kept = tape.from<float>({1, 2, 3});
    CHECK(kept.to_host<float>() == std::vector<float>{1, 2, 3});
  }
  CHECK_THROWS_WITH_AS(kept.raw(), doctest::Contains("after its tape had ended"), Error);
  // Also when the memory was given to somebody else since.
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor other = tape.from<float>({4, 5, 6});
  CHECK_THROWS_AS(kept.to_host<float>(), Error);
  CHECK(other.to_host<float>() == std::vector<float>{4, 5, 6});
}

TEST_CASE("an undefined tensor throws") {
  CHECK(!Tensor().defined());
  CHECK_THROWS_AS(Tensor().shape(), Error);
}

TEST_CASE("a tensor read as another type throws") {
  const auto device = open_device("cpu");
  const Tensor x = Tensor::zeros(*device, {2}, DType::F32);
  CHECK_THROWS_AS(x.data<double>(), Error);
  CHECK_THROWS_AS(x.to_host<int32_t>(), Error);
}

TEST_CASE("backward on a tape that does not record throws; so does an upstream gradient of another size") {
  const auto device = open_device("cpu");
  Tape silent(*device, Tape::Mode::no_grad);
  const Tensor x = silent.from<float>({1, 2});
  CHECK_THROWS_AS(silent.backward<float>(x, std::vector<float>{1, 1}), Error);
  Tape tape(*device, Tape::Mode::record);
  const Tensor y = tape.from<float>({1, 2});
  CHECK_THROWS_AS(tape.backward<float>(y, std::vector<float>{1}), Error);
  CHECK_THROWS_AS(tape.backward<double>(y, std::vector<double>{1, 1}), Error);
}

TEST_CASE("parameters accumulate over tapes until zero_grad") {
  const auto device = open_device("cpu");
  const Tensor w = parameter_of(*device, {1, 2}, {3, 4});
  CHECK(w.grad() == nullptr);
  CHECK(w.grad_to_host<float>() == std::vector<float>{0, 0});
  const auto step = [&](float x0, float x1) {
    Tape tape(*device, Tape::Mode::record);
    const std::vector<float> values = {x0, x1};
    const Tensor y = linear(tape, tape.from<float>({1, 2}, values), w);
    tape.backward<float>(y, std::vector<float>{1});
  };
  step(1, 2);
  step(10, 20);
  CHECK(w.grad_to_host<float>() == std::vector<float>{11, 22});
  w.zero_grad();
  CHECK(!w.grad_written());
  step(5, 6);
  CHECK(w.grad_to_host<float>() == std::vector<float>{5, 6});
}

TEST_CASE("a second backward finds nothing to walk: parameters are not counted twice") {
  const auto device = open_device("cpu");
  const Tensor w = parameter_of(*device, {1, 1}, {3});
  Tape tape(*device, Tape::Mode::record);
  const std::vector<float> two = {2};
  const Tensor y = linear(tape, tape.from<float>({1, 1}, two), w);
  tape.backward<float>(y, std::vector<float>{1});
  CHECK(w.grad_to_host<float>() == std::vector<float>{2});
  tape.backward<float>(y, std::vector<float>{1});
  CHECK(w.grad_to_host<float>() == std::vector<float>{2});
}

TEST_CASE("what does not lead to the output gets no gradient") {
  const auto device = open_device("cpu");
  const Tensor used = parameter_of(*device, {1, 1}, {3}), unused = parameter_of(*device, {1, 1}, {4});
  Tape tape(*device, Tape::Mode::record);
  const std::vector<float> two = {2};
  const Tensor x = tape.from<float>({1, 1}, two);
  const Tensor y = linear(tape, x, used);
  const Tensor aside = linear(tape, x, unused);
  tape.backward<float>(y, std::vector<float>{1});
  CHECK(used.grad_written());
  CHECK(!unused.grad_written());
  CHECK(x.grad_to_host<float>() == std::vector<float>{3});
  CHECK(aside.to_host<float>() == std::vector<float>{8});
}

TEST_CASE("rope in place between other ops has the right gradient") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  // The residual reads x before the rotation of y = x w^T; the sum reads y after it, twice.
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor y = linear(tape, x[0], x[1]);
    rope(tape, y, {}, rope_angles(tape, indices(tape, {3, 1, 8}), constant(tape, y.dtype(), {2}, {1.0, 0.25})));
    return add(tape, add(tape, y, y), x[0]);
  };
  check_op(*device, op, {activation({3, 8}, rng), parameter({8, 8}, rng)});
}

TEST_CASE("backward gives gradients of activations back: their pool stays small") {
  const auto device = open_device("cpu");
  const auto pool_after = [&](int depth) {
    Tape tape(*device, Tape::Mode::record);
    Tensor h = tape.make({256, 64}, DType::F32);
    tape.backend().fill_zero(h.raw(), h.bytes());
    for (int i = 0; i < depth; ++i) h = add(tape, h, h);
    const std::vector<float> upstream(256 * 64, 0.0f);
    tape.backward<float>(h, upstream);
    return device->gradients().high_water();
  };
  const int64_t one = 256 * 64 * 4;
  CHECK(pool_after(50) <= 3 * one);
}

TEST_CASE("scope: a long unrecorded forward keeps one residual stream and one block") {
  const auto device = open_device("cpu");
  const int64_t one = 256 * 64 * 4;
  const Tensor w = parameter_of(*device, {64}, std::vector<float>(64, 1.0f));
  const auto forward = [&](Tape& tape, int depth) {
    Tensor h = tape.make({256, 64}, DType::F32);
    tape.backend().fill_zero(h.raw(), h.bytes());
    for (int i = 0; i < depth; ++i)
      h = tape.scope(h, [&](const Tensor& x) { return add(tape, x, rmsnorm(tape, x, w, 1e-5)); });
    return h;
  };
  {
    Tape tape(*device, Tape::Mode::no_grad);
    forward(tape, 100);
  }
  CHECK(device->arena().high_water() <= 4 * one);
  {
    Tape tape(*device, Tape::Mode::record);
    forward(tape, 100);
  }
  CHECK(device->arena().high_water() >= 200 * one);
}

TEST_CASE("scope: recorded and unrecorded give the same bits") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  const std::vector<Input> inputs = {activation({7, 5}, rng), parameter({5}, rng), parameter({5, 5}, rng)};
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    Tensor h = add(tape, x[0], x[0]);
    for (int i = 0; i < 3; ++i)
      h = tape.scope(
          h, [&](const Tensor& in) { return add(tape, in, linear(tape, rmsnorm(tape, in, x[1], 1e-5), x[2])); });
    return h;
  };
  const Result recorded = run<float>(*device, op, inputs, random_upstream(35)),
               silent = run<float>(*device, op, inputs);
  CHECK(same_bits(recorded.y, silent.y));
  check_op(*device, op, inputs);
}

TEST_CASE("scope: a block that writes over its input is not copied, and gives the bits of one that does not") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  const std::vector<float> values = random_floats(35, rng), weights = random_floats(25, rng);
  const Tensor w = parameter_of(*device, {5, 5}, weights);
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor a = tape.from<float>({7, 5}, values), b = tape.from<float>({7, 5}, values);
  const auto plus_product = [&](const Tensor& y, const Tensor& x) {
    add_linear(tape, y, linear(tape, x, w), w);
    return y;
  };
  const Tensor over = tape.scope(a, [&](const Tensor& x) { return plus_product(x, x); });
  const Tensor beside = tape.scope(b, [&](const Tensor& x) { return plus_product(copy(tape, x), x); });
  CHECK(over == a);
  CHECK(beside == b);
  CHECK(over.to_host<float>() != values);
  CHECK(over.to_host<float>() == beside.to_host<float>());
}

TEST_CASE("tapes nest; what the inner one made is gone, what the outer one made is not") {
  const auto device = open_device("cpu");
  Tape outer(*device, Tape::Mode::no_grad);
  const Tensor a = outer.from<float>({1, 2});
  Tensor b;
  {
    Tape inner(*device, Tape::Mode::no_grad);
    b = inner.from<float>({3, 4});
  }
  CHECK_THROWS_AS(b.raw(), Error);
  CHECK(a.to_host<float>() == std::vector<float>{1, 2});
}

TEST_CASE("open_device: an unknown name is named") {
  CHECK_THROWS_WITH_AS(open_device("tpu"), doctest::Contains("tpu"), Error);
  const auto device = open_device("cpu");
  CHECK(device->backend().kind() == "cpu");
  CHECK(device->backend().description().find("thread") != std::string::npos);
}

TEST_CASE("frozen parameters hold no gradient, and nothing is computed below the first that learns") {
  const auto device = open_device("cpu");
  const Tensor table = parameter_of(*device, {2, 2}, {1, 2, 3, 4}), norm = parameter_of(*device, {2}, {1, 1});
  const Tensor w1 = parameter_of(*device, {2, 2}, {1, 2, 3, 4}), w2 = parameter_of(*device, {2, 2}, {5, 6, 7, 8});
  const auto product_operations = [&](bool through_checkpoint) {
    const double before = device->backend().product_operations();
    Tape tape(*device, Tape::Mode::record);
    const Tensor x = embedding(tape, table, tape.from<int32_t>({1, 0, 1}));
    const auto block = [&](Tape& inner, const Tensor& in) {
      const Tensor below = linear(inner, rmsnorm(inner, in, norm, 1e-5), w1);
      const Tensor out = inner.recording() ? copy(inner, in) : in;
      add_linear(inner, out, below, w2);
      return out;
    };
    const Tensor y = through_checkpoint ? checkpoint(tape, x, block) : block(tape, x);
    tape.backward<float>(y, std::vector<float>{1, 2, 3, 4, 5, 6});
    return device->backend().product_operations() - before;
  };
  const double product = 2 * 3 * 2 * 2;
  CHECK(product_operations(false) == 6 * product);  // two forward, each with two backward
  const std::vector<float> of_w2 = w2.grad_to_host<float>();
  for (const Tensor& x : {table, norm, w1}) x.freeze();
  for (const Tensor& x : {table, norm, w1}) CHECK(x.grad() == nullptr);
  w2.zero_grad();
  CHECK(product_operations(false) == 3 * product);
  CHECK(w2.grad_to_host<float>() == of_w2);
  w2.zero_grad();
  CHECK(product_operations(true) == 5 * product);  // forward twice
  CHECK(w2.grad_to_host<float>() == of_w2);
  w2.freeze();
  CHECK(product_operations(true) == 2 * product);
  for (const Tensor& x : {table, norm, w1, w2}) CHECK(x.grad() == nullptr);
  Tape tape(*device, Tape::Mode::record);
  CHECK_THROWS_WITH_AS(tape.target(w1), doctest::Contains("frozen"), Error);
}

}  // namespace thinker::test
