// The change to the accumulator's dtype.
#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

TEST_CASE("widen: what is kept in its accumulator's dtype passes through") {
  const auto device = open_device("cpu");
  Tape tape(*device, Tape::Mode::record);
  for (const DType t : {DType::F32, DType::F64}) {
    const Tensor x = tape.make({3, 5}, t);
    CHECK(widen(tape, x) == x);
  }
}

TEST_CASE("widen: BF16 to F32 and its gradient back, rounded to BF16 for an activation and whole for a parameter") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  const std::vector<double> values = normal_values(21, rng), ups = normal_values(21, rng);
  std::vector<bf16> narrow(21);
  std::vector<float> upstream(21);
  for (int i = 0; i < 21; ++i) {
    narrow[i] = to_bf16(static_cast<float>(values[i]));
    upstream[i] = static_cast<float>(ups[i]);
  }
  Tape tape(*device, Tape::Mode::record);
  const Tensor weight = Tensor::parameter(*device, {3, 7}, DType::BF16);
  device->backend().copy_from_host(weight.raw(), narrow.data(), weight.bytes());
  const Tensor x = tape.from<bf16>({3, 7}, narrow);
  const Tensor y = add(tape, widen(tape, x), add(tape, widen(tape, weight), widen(tape, weight)));
  CHECK(y.dtype() == DType::F32);
  tape.backward<float>(y, upstream);
  const std::vector<float> found = y.to_host<float>(), of_weight = weight.grad_to_host<float>();
  const std::vector<bf16> of_x = x.grad_to_host<bf16>();
  for (int i = 0; i < 21; ++i) {
    CHECK(found[i] == 3 * to_float(narrow[i]));
    CHECK(of_weight[i] == 2 * upstream[i]);
    CHECK(to_float(of_x[i]) == to_float(to_bf16(upstream[i])));
  }
}

}  // namespace thinker::test
