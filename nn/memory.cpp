#include "nn/memory.h"

#include "nn/generate.h"
#include "nn/packed_weights.h"
#include "tensor/dry_backend.h"

namespace thinker {

namespace {

/// A device that counts, and a model on it.
struct DryModel {
  DryBackend* backend;  // the device's
  Device device;
  Transformer net;

  DryModel(const Config& config, DType t, Backend* like)
      : backend(new DryBackend(like)), device(std::unique_ptr<Backend>(backend)), net(device, config, t) {}
};

int64_t weight_bytes(const Transformer& net) {
  int64_t bytes = 0;
  net.visit([&](const std::string&, const Tensor& w) { bytes += w.bytes(); });
  return bytes;
}

}  // namespace

TrainingMemory predict_training(const Config& config, const Batch& batch, const TrainingWork& work) {
  DryModel dry(config, work.dtype, nullptr);
  TrainingMemory memory;
  memory.weights = weight_bytes(dry.net);
  if (work.lora) {
    const auto lora = std::make_shared<const Lora>(dry.net, *work.lora);
    memory.weights += lora->parameters() * size_of(work.dtype);
    dry.net.attach(lora);
  }
  const bool narrow = accumulator_of(work.dtype) != work.dtype;
  dry.net.visit_trained([&](const std::string&, const Tensor& w) {
    memory.gradients += w.grad_bytes();
    if (narrow) memory.masters += w.grad_bytes();
    memory.state += moment_bytes(work.state, w.numel());
  });
  dry.net.set_recompute(work.recompute);
  {
    Tape tape(dry.device, Tape::Mode::record);
    const Tensor logprobs = dry.net.logprobs(tape, batch);
    tape.backward<float>(logprobs, std::vector<float>(batch.rows.size()));
  }
  memory.activations = dry.device.arena().high_water();
  memory.activation_gradients = dry.device.gradients().high_water();
  return memory;
}

SamplingMemory predict_sampling(const Config& config, const SamplingWork& work, Backend* like) {
  DryModel dry(config, work.dtype, like);
  dry.net.visit([](const std::string&, const Tensor& w) { w.raw(); });  // weights get their memory when first used
  SamplingMemory memory;
  {
    const int64_t before = dry.backend->in_use();
    const PackedWeights packed(dry.net);
    memory.packed = dry.backend->in_use() - before;
  }
  const std::vector<int32_t> prompt(static_cast<size_t>(work.prompt_length), 0);
  std::vector<GenerateRequest> requests;
  for (int64_t i = 0; i < work.prompts; ++i) requests.push_back({prompt, i, work.samples, 0});
  // A dry device draws token 0. Every sample ends with it: a step needs the same memory as any other.
  generate(dry.net, requests, {.max_new = work.max_new, .max_rows = work.max_rows, .end_ids = {0}});
  memory.activations = dry.device.arena().high_water();
  // The cache and the packed weights are gone by now, all else is still there.
  memory.cache = dry.backend->peak() - dry.backend->in_use() - memory.packed;
  return memory;
}

}  // namespace thinker
