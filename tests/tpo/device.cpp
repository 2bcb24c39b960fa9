// DPO steps on the device that THINKER_TEST_DEVICE names against the CPU's, for every format of the optimizer's state,
// of all weights and of adapters.
#include "nn/lora.h"
#include "tests/nn/models.h"
#include "tpo/training.h"

using namespace thinker;

namespace {

struct Steps {
  std::vector<double> losses, norms;
  Values weights;  // those that were trained
};

enum class Trained { weights, adapters };

Steps dpo_steps(Device& device, DType t, OptimizerState state, Trained trained, Recompute recompute) {
  Rng rng(8, Purpose::generate_data);
  std::vector<IdPair> pairs;
  for (int64_t i = 0; i < 12; ++i) {
    IdPair pair;
    pair.prompt = random_ids(rng, 3 + i);
    pair.chosen = random_ids(rng, 5 + i % 4);
    pair.rejected = random_ids(rng, 12 - i % 5);
    pairs.push_back(std::move(pair));
  }
  TrainOptions options{.lr = 1e-3, .batch = 4, .epochs = 3, .micro_tokens = 60};
  options.adamw = {.weight_decay = 0.1, .state = state};
  Transformer model = random_model(device, tiny_qwen3_config(), t);
  if (trained == Trained::adapters) add_lora(model, {.rank = 4, .alpha = 8}, 3, 1);
  model.set_recompute(recompute);
  AdamW optimizer(model, options.adamw);
  Steps steps;
  const TrainHooks hooks{.on_step = [&](const StepLog& log) {
    steps.losses.push_back(log.loss);
    steps.norms.push_back(log.grad_norm);
  }};
  train_dpo(model, optimizer, pairs, reference_logps(model, pairs, options), ReferenceIs::other, {}, options, hooks);
  model.visit_trained([&](const std::string& name, const Tensor& w) {
    const Tensor wide = Tensor::zeros(device, w.shape(), DType::F32);
    device.backend().convert(wide.raw(), w.raw(), w.numel(), DType::F32, t);
    steps.weights[name] = host_values(wide);
  });
  return steps;
}

}  // namespace

TEST_CASE("another device: nine DPO steps are the CPU's") {
  const auto cpu = open_device("cpu"), other = test_device();
  if (other->backend().kind() == "cpu") {
    std::fprintf(stderr, "SKIP: THINKER_TEST_DEVICE names no other device than the CPU\n");
    return;
  }
  for (OptimizerState state : {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit}) {
    for (Trained trained : {Trained::weights, Trained::adapters}) {
      CAPTURE(name(state));
      CAPTURE((trained == Trained::adapters));
      const Steps expected = dpo_steps(*cpu, DType::F32, state, trained, Recompute::nothing);
      for (Recompute recompute : {Recompute::nothing, Recompute::blocks}) {
        const Steps found = dpo_steps(*other, DType::F32, state, trained, recompute);
        // Adam divides by the size of a gradient: where that is near rounding, a weight's step of 1e-3 may differ in
        // sign. With moments in fewer bits a number beside the border of two codes may take the other one.
        const double most = state == OptimizerState::f32 ? 1e-4 : 1e-2;
        CHECK(difference(found.losses, expected.losses) <= most);
        CHECK(difference(found.norms, expected.norms) <= 10 * most);
        CHECK(relative_difference(found.weights, expected.weights) <= 1e-2);
      }
      // BF16 has no twin on the CPU: the same start, and it learns.
      const Steps narrow = dpo_steps(*other, DType::BF16, state, trained, Recompute::nothing);
      CHECK(std::fabs(narrow.losses.front() - expected.losses.front()) <= 0.1);
      CHECK(std::fabs(narrow.losses.back() - expected.losses.back()) <= 0.1);
    }
  }
}
