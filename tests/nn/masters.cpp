// Trap 13: steps that a bf16 weight cannot show one by one add up in the optimizer's fp32 copy of it.
#include <cstring>

#include "nn/optimizer.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

/// What AdamW needs of a model: one weight, which is pushed down by the same gradient at each step.
class OneWeight {
 public:
  OneWeight(Device& device, DType t) : device_(&device), weight_(Tensor::parameter(device, {3, 5}, t)) {
    // Between 1/16 and 1/8, where two neighbours in bf16 are 2^-11 apart; all of them exact.
    std::vector<double> values(15);
    for (size_t i = 0; i < 15; ++i) values[i] = 0.09375 + 0.001953125 * static_cast<double>(i);
    set_values(weight_, values);
  }
  Device& device() const { return *device_; }
  template <class Fn>
  void visit_trained(Fn&& fn) const {
    fn(std::string("weight"), weight_);
  }
  void set_gradient(float g) const {
    Tape tape(*device_, Tape::Mode::record);
    const std::vector<float> all(15, g);
    device_->backend().copy_from_host(tape.target(weight_).data, all.data(), 60);
  }
  std::vector<float> values() const {
    const Tensor wide = Tensor::zeros(*device_, weight_.shape(), DType::F32);
    device_->backend().convert(wide.raw(), weight_.raw(), 15, DType::F32, weight_.dtype());
    return wide.to_host<float>();
  }

 private:
  Device* device_;
  Tensor weight_;
};

}  // namespace

TEST_CASE("adamw: a thousand steps, each too small for a bf16 weight, move it as far as one in fp32") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  for (OptimizerState state : {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit}) {
    CAPTURE(std::string(name(state)));
    std::map<DType, std::vector<float>> moved;
    std::vector<float> master(15);
    for (DType t : {DType::F32, DType::BF16}) {
      const OneWeight model(*device, t);
      const std::vector<float> before = model.values();
      AdamW optimizer(model, {.clip = 0.0, .state = state});
      for (int step = 0; step < 1000; ++step) {
        model.set_gradient(0.5f);
        optimizer.step(1e-6);
        if (step == 0 && t == DType::BF16) CHECK(model.values() == before);  // too small a step to be seen
      }
      for (size_t i = 0; i < 15; ++i) moved[t].push_back(before[i] - model.values()[i]);
      if (t == DType::F32) continue;
      optimizer.save(folder / "state.safetensors");
      const SafetensorsFile file(folder / "state.safetensors");
      const auto& saved = file.tensors().at("master.weight");
      REQUIRE(saved.data.size() == 60);
      std::memcpy(master.data(), saved.data.data(), 60);
      for (size_t i = 0; i < 15; ++i) master[i] = before[i] - master[i];
    }
    for (size_t i = 0; i < 15; ++i) {
      // A constant gradient's steps are of lr each; moments in fewer bits make that a little less sure.
      CHECK(moved[DType::F32][i] == doctest::Approx(1e-3).epsilon(state == OptimizerState::f32 ? 1e-3 : 0.1));
      CHECK(std::fabs(master[i] - moved[DType::F32][i]) <= 1e-7);
      CHECK(std::fabs(moved[DType::BF16][i] - master[i]) <= 1.0 / 4096);  // half of what lies between neighbours
    }
  }
}
