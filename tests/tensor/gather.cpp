// Embedding and gather: indices repeat, rows stay untouched, sums keep their order.
#include "gradcheck.h"

namespace thinker::test {

namespace {

Op gather_op(std::vector<int32_t> index) {
  return [index](Tape& tape, const std::vector<Tensor>& x) { return gather(tape, x[0], indices(tape, index)); };
}

Op embedding_op(std::vector<int32_t> ids) {
  return [ids](Tape& tape, const std::vector<Tensor>& x) { return embedding(tape, x[0], indices(tape, ids)); };
}

}  // namespace

TEST_CASE("gather: gradients, with repeated indices and rows that nobody takes") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  for (const int width : {1, 3, 7}) {
    check_op(*device, gather_op({0}), {activation({1, width}, rng)});
    check_op(*device, gather_op({2, 0, 2, 2, 4}), {activation({7, width}, rng)});
    check_op(*device, embedding_op({6, 1, 6}), {parameter({7, width}, rng)});
  }
}

TEST_CASE("gather: the prompt's last row predicts the first token of three completions") {
  const auto device = open_device("cpu");
  // A prompt of 3 rows, completions of 3, 1 and 2 tokens on it. The rows that predict them:
  const std::vector<int32_t> predicting = {2, 3, 4, 2, 2, 7};
  Rng rng = test_rng(2);
  const Input x = activation({9, 3}, rng);
  check_op(*device, gather_op(predicting), {x});
  std::vector<double> upstream = random_upstream(18);
  const Result r = run<double>(*device, gather_op(predicting), {x}, upstream);
  for (int c = 0; c < 3; ++c)
    CHECK(r.gradients[0][2 * 3 + c] == doctest::Approx(upstream[c] + upstream[9 + c] + upstream[12 + c]));
}

TEST_CASE("gather copies rows and zeroes the gradient of the others") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  const Input x = activation({3, 2}, rng);
  const Result r = run<double>(*device, gather_op({2, 2}), {x}, {1, 2, 30, 40});
  CHECK(r.y == std::vector<double>{x.values[4], x.values[5], x.values[4], x.values[5]});
  CHECK(r.gradients[0] == std::vector<double>{0, 0, 0, 0, 31, 42});
}

TEST_CASE("gather of no rows") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(4);
  CHECK(run<float>(*device, gather_op({}), {activation({3, 2}, rng)}).y.empty());
}

TEST_CASE("gather's backward repeats its bits although many rows meet") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(5);
  std::vector<int32_t> index(3000);
  for (int32_t& i : index) i = static_cast<int32_t>(rng.below(5));
  check_repeats(*device, gather_op(index), {activation({7, 96}, rng)});
  check_repeats(*device, embedding_op(index), {parameter({7, 96}, rng)});
}

TEST_CASE("keys and values are appended to a cache") {
  const auto device = open_device("cpu");
  std::vector<float> keys(8, -1.0f), values(8, -2.0f);
  const std::vector<float> k = {1, 2, 3, 4}, v = {5, 6, 7, 8};
  const std::vector<int32_t> index = {3, 0};
  device->backend().append_to_cache(keys.data(), values.data(), k.data(), v.data(), index.data(), 2, 2, DType::F32);
  CHECK(keys == std::vector<float>{3, 4, -1, -1, -1, -1, 1, 2});
  CHECK(values == std::vector<float>{7, 8, -2, -2, -2, -2, 5, 6});
}

TEST_CASE("gather wants an index of I32") {
  const auto device = open_device("cpu");
  Tape tape(*device, Tape::Mode::no_grad);
  const Tensor x = tape.make({2, 2}, DType::F32);
  CHECK_THROWS_WITH_AS(gather(tape, x, tape.make({2}, DType::F32)), doctest::Contains("[gather]"), Error);
  CHECK_THROWS_WITH_AS(embedding(tape, x, x), doctest::Contains("[embedding]"), Error);
}

}  // namespace thinker::test
