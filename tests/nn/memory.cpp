// The prediction of memory against what a real device is asked for, and against what this process then occupies.
#include "nn/memory.h"

#include <malloc.h>

#include "nn/generate.h"
#include "nn/packed_weights.h"
#include "tensor/dry_backend.h"
#include "tests/nn/models.h"
#include "tests/tensor/threads.h"

using namespace thinker;

namespace {

Batch pair_batch(int64_t prompt, int64_t chosen, int64_t rejected, int64_t vocab) {
  Rng rng(9, Purpose::generate_data);
  Batch batch;
  const Batch::Prefix prefix = batch.add_prompt(random_ids(rng, prompt, vocab));
  batch.add_completion(prefix, random_ids(rng, chosen, vocab));
  batch.add_completion(prefix, random_ids(rng, rejected, vocab));
  return batch;
}

void run_step(const Transformer& model, AdamW& optimizer, const Batch& batch) {
  {
    Tape tape(model.device(), Tape::Mode::record);
    const Tensor logprobs = model.logprobs(tape, batch);
    tape.backward<float>(logprobs, std::vector<float>(batch.rows.size(), 0.01f));
  }
  optimizer.step(1e-4);
}

/// The sanitizer keeps memory of its own.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

/// A figure of /proc/self/status, in bytes.
int64_t status_bytes(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;) {
    int64_t kilobytes = 0;
    if (word == key + ":" && in >> kilobytes) return 1024 * kilobytes;
  }
  return 0;
}

Config middle_config() {
  Config c = tiny_config();
  c.vocab = 4096;
  c.width = 256;
  c.layers = 6;
  c.heads = 4;
  c.head_dim = 64;
  c.ffn = 768;
  return c;
}

}  // namespace

TEST_CASE("memory: activations and their gradients are predicted to the byte, with and without recomputing") {
  Config wide = tiny_config();
  wide.vocab = 100003;  // its logits are cut into chunks
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config(), wide}) {
    int64_t before = INT64_MAX;
    for (Recompute recompute : {Recompute::nothing, Recompute::blocks}) {
      const auto device = open_device("cpu");
      Transformer model = random_model(*device, config, DType::F32);
      model.set_recompute(recompute);
      AdamW optimizer(model, {});
      const Batch batch = pair_batch(31, 57, 70, config.vocab);
      run_step(model, optimizer, batch);
      const TrainingMemory memory = predict_training(config, batch, {.recompute = recompute});
      CHECK(memory.activations == device->arena().high_water());
      CHECK(memory.activation_gradients == device->gradients().high_water());
      CHECK(memory.weights == 4 * model.parameters());
      CHECK(memory.gradients == memory.weights);
      CHECK(memory.masters == 0);
      CHECK(memory.activations + memory.activation_gradients < before);
      before = memory.activations + memory.activation_gradients;
    }
  }
}

TEST_CASE("memory: activations are linear in the rows of a batch") {
  Config config = middle_config();
  config.vocab = 64;
  const auto activations = [&](int64_t n) {
    Rng rng(1, Purpose::generate_data);
    Batch batch;
    batch.add_sequence(random_ids(rng, n, config.vocab), std::vector<uint8_t>(n, 1));
    return static_cast<double>(predict_training(config, batch, {}).activations);
  };
  // Nearly: the end of a chunk of the arena stays empty where an array does not fit.
  const double more = activations(1024) - activations(512);
  CHECK(more == doctest::Approx(2 * (activations(512) - activations(256))).epsilon(0.06));
}

TEST_CASE("memory: dtype, format of the optimizer's state, and adapters") {
  const Config config = middle_config();
  const int64_t n = Transformer(*open_device("cpu"), config, DType::F32).parameters();
  const Batch batch = pair_batch(10, 20, 20, config.vocab);
  const auto of = [&](const TrainingWork& work) { return predict_training(config, batch, work); };
  const TrainingMemory f32 = of({}), bf16 = of({.dtype = DType::BF16});
  CHECK(f32.state == 8 * n);
  CHECK(of({.state = OptimizerState::bf16}).state == 4 * n);
  CHECK(of({.state = OptimizerState::eight_bit}).state < 2.1 * static_cast<double>(n));
  CHECK(bf16.weights == 2 * n);
  CHECK(bf16.masters == 4 * n);
  CHECK(bf16.gradients == 4 * n);
  CHECK(bf16.activations < 0.65 * static_cast<double>(f32.activations));
  const LoraOptions rank4{.rank = 4, .targets = {"q_proj", "down_proj"}};
  const TrainingMemory adapters = of({.dtype = DType::BF16, .lora = rank4});
  const int64_t q = config.heads * config.head_dim,
                learn = 4 * config.layers * (config.width + q + config.ffn + config.width);
  CHECK(adapters.weights == 2 * (n + learn));
  CHECK(adapters.gradients == 4 * learn);
  CHECK(adapters.masters == 4 * learn);
  CHECK(adapters.state == 8 * learn);
  CHECK(adapters.activation_gradients < 1.1 * static_cast<double>(bf16.activation_gradients));
  CHECK(f32.total() ==
        f32.weights + f32.gradients + f32.state + f32.activations + f32.activation_gradients + f32.masters);
}

TEST_CASE("memory: the optimizer's state is what its arrays take") {
  const Config config = middle_config();
  for (DType t : {DType::F32, DType::BF16}) {
    for (OptimizerState state : {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit}) {
      auto owned = std::make_unique<DryBackend>(nullptr);
      const DryBackend& counter = *owned;
      Device device(std::move(owned));
      const Transformer model(device, config, t);
      model.visit([](const std::string&, const Tensor& w) { w.raw(); });
      const int64_t before = counter.in_use();
      const AdamW optimizer(model, {.state = state});
      const TrainingMemory memory =
          predict_training(config, pair_batch(3, 3, 3, config.vocab), {.dtype = t, .state = state});
      CHECK(counter.in_use() - before == memory.state + memory.masters);
    }
  }
}

TEST_CASE("memory: sampling's cache, packed weights and activations are predicted to the byte") {
  const Config config = middle_config();
  const SamplingWork work{
      .dtype = DType::F32, .prompts = 7, .prompt_length = 19, .samples = 3, .max_rows = 8, .max_new = 11};
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, config, DType::F32, 1, 0.02);
  Rng rng(2, Purpose::generate_data);
  std::vector<GenerateRequest> requests;
  for (int64_t i = 0; i < work.prompts; ++i)
    requests.push_back({random_ids(rng, work.prompt_length, config.vocab), i, work.samples});
  generate(model, requests, {.max_new = work.max_new, .max_rows = work.max_rows});
  const SamplingMemory memory = predict_sampling(config, work, &device->backend());
  CHECK(memory.activations == device->arena().high_water());
  // 8 rows of 11 tokens, and room for 8 / 3 + 2 prompts
  CHECK(memory.cache == config.layers * 2 * (8 * 11 + 4 * 19) * config.kv_heads * config.head_dim * 4);
  int64_t packed = 0;
  model.visit([&](const std::string&, const Tensor& w) {
    if (w.shape().rank() == 2) packed += device->backend().packed_bytes(w.dim(0), w.dim(1), DType::F32);
  });
  CHECK(memory.packed >= packed);
  CHECK(memory.packed <= packed + 64 * 43);
  CHECK(predict_sampling(config, work, nullptr).packed == 0);
}

TEST_CASE("memory: a process that trains occupies what was predicted, within 15 %") {
  std::ofstream reset("/proc/self/clear_refs");
  reset << "5" << std::flush;  // the peak starts again from here
  if (!reset || kSanitized) {
    std::fprintf(stderr, "SKIP: the peak of this process cannot be told here\n");
    return;
  }
  const Config config = middle_config();
  const test::Threads two(2);  // each has some MB of its own, which are not predicted
  malloc_trim(0);  // what the tests before this one have freed and malloc has kept would be taken again, unseen
  const int64_t before = status_bytes("VmRSS");
  const Batch batch = pair_batch(400, 500, 500, config.vocab);
  {
    const auto device = open_device("cpu");
    const Transformer model = random_model(*device, config, DType::F32, 1, 0.02);
    AdamW optimizer(model, {});
    run_step(model, optimizer, batch);
  }
  const auto found = static_cast<double>(status_bytes("VmHWM") - before);
  const auto expected = static_cast<double>(predict_training(config, batch, {}).total());
  CHECK(found > 0.85 * expected);
  CHECK(found < 1.15 * expected);
}
