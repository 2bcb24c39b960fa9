// Checkpointing: the gradients of a block that is run again equal the plain ones, bit for bit, in less memory.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

constexpr int kRows = 12, kWidth = 32;

/// A residual block of two norms, products and a gate, which writes over its input where nothing is recorded, as a
/// model's does. x[1], x[3]: products' weights; x[2]: the norms'.
Tensor block(Tape& tape, const Tensor& x, const std::vector<Tensor>& w) {
  const auto plus = [&](const Tensor& to, const Tensor& in) {
    const Tensor y = tape.recording() ? copy(tape, to) : to;
    add_linear(tape, y, in, w[1]);
    return y;
  };
  const Tensor a = plus(x, rmsnorm(tape, x, w[2], 1e-5)), normed = rmsnorm(tape, a, w[2], 1e-5);
  return plus(a, swiglu(tape, linear(tape, normed, w[1]), linear(tape, normed, w[3])));
}

enum class Store { all, checkpoints };

Op stack(Store store, int depth) {
  return [=](Tape& tape, const std::vector<Tensor>& x) {
    Tensor h = x[0];
    for (int i = 0; i < depth; ++i) {
      if (store == Store::all)
        h = block(tape, h, x);
      else
        h = checkpoint(tape, h, [x](Tape& inner, const Tensor& in) { return block(inner, in, x); });
    }
    return h;
  };
}

std::vector<Input> stack_inputs(int rows, int width) {
  Rng rng = test_rng(1);
  return {activation({rows, width}, rng), parameter({width, width}, rng, 0.3), parameter({width}, rng),
          parameter({width, width}, rng, 0.3)};
}

}  // namespace

TEST_CASE("checkpoint: gradients") {
  const auto device = open_device("cpu");
  check_op(*device, stack(Store::checkpoints, 2), stack_inputs(3, 5));
}

TEST_CASE("checkpoint equals the plain gradient, bit for bit") {
  const auto device = open_device("cpu");
  const std::vector<Input> inputs = stack_inputs(kRows, kWidth);
  const std::vector<double> upstream = random_upstream(kRows * kWidth);
  const Result plain = run<float>(*device, stack(Store::all, 4), inputs, upstream);
  const Result again = run<float>(*device, stack(Store::checkpoints, 4), inputs, upstream);
  CHECK(same_bits(plain.y, again.y));
  for (size_t i = 0; i < inputs.size(); ++i) CHECK(same_bits(plain.gradients[i], again.gradients[i]));
  // Unrecorded, a checkpoint is the block itself.
  CHECK(same_bits(plain.y, run<float>(*device, stack(Store::checkpoints, 4), inputs).y));
}

TEST_CASE("checkpoint: an input with another consumer, a block within a block") {
  const auto device = open_device("cpu");
  // The block outlives this call, since backward runs it again: it holds copies of the handles.
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor y = checkpoint(tape, x[0], [x](Tape& outer, const Tensor& in) {
      const Tensor a = checkpoint(outer, in, [x](Tape& inner, const Tensor& h) { return block(inner, h, x); });
      return add(outer, a, in);
    });
    return add(tape, y, x[0]);
  };
  check_op(*device, op, stack_inputs(3, 5));
}

TEST_CASE("checkpoint: a block that writes over its input leaves what it was given as it was") {
  const auto device = open_device("cpu");
  const std::vector<Input> inputs = stack_inputs(kRows, kWidth);
  Tape tape(*device, Tape::Mode::record);
  const Tensor x = tape.from<float>({kRows, kWidth}, std::vector<float>(kRows * kWidth, 0.5f));
  std::vector<Tensor> w{x};
  for (size_t i = 1; i < inputs.size(); ++i)
    w.push_back(parameter_of(*device, inputs[i].shape, {inputs[i].values.begin(), inputs[i].values.end()}));
  const Tensor y = checkpoint(tape, x, [&](Tape& inner, const Tensor& in) { return block(inner, in, w); });
  CHECK(x.to_host<float>() == std::vector<float>(kRows * kWidth, 0.5f));
  CHECK(y.to_host<float>() != x.to_host<float>());
}

TEST_CASE("checkpoint keeps less: the arena's high water grows by one activation a block") {
  const auto inputs = stack_inputs(256, 64);
  const std::vector<double> upstream = random_upstream(256 * 64);
  const auto high_water = [&](Store store) {
    const auto device = open_device("cpu");
    run<float>(*device, stack(store, 20), inputs, upstream);
    return device->arena().high_water();
  };
  CHECK(high_water(Store::checkpoints) * 3 < high_water(Store::all));
}

TEST_CASE("checkpoint refuses a block that changes the shape") {
  const auto device = open_device("cpu");
  const Op op = [](Tape& tape, const std::vector<Tensor>& x) {
    return checkpoint(tape, x[0], [](Tape& inner, const Tensor& h) { return gather(inner, h, indices(inner, {0})); });
  };
  CHECK_THROWS_WITH_AS(run<double>(*device, op, stack_inputs(3, 5), random_upstream(15)),
                       doctest::Contains("[checkpoint]"), Error);
}

}  // namespace thinker::test
