#include "tools/bench/work.h"

#include <algorithm>
#include <chrono>

#include "nn/generate.h"
#include "nn/weight_file.h"
#include "tpo/training.h"

namespace thinker {

double best_seconds(int64_t repeat, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  work();
  double best = 1e30;
  for (int64_t i = 0; i < repeat; ++i) {
    const Clock::time_point start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

namespace {

constexpr int64_t kNumbers = int64_t{1} << 20;

/// Normal numbers with deviation 0.02.
Tensor some_noise(Device& device) {
  Rng rng(7, Purpose::initialise);
  std::vector<float> values(kNumbers);
  for (float& x : values) x = static_cast<float>(0.02 * rng.normal());
  return Tensor::from<float>(device, {kNumbers}, values);
}

/// x = the kNumbers numbers of source, again and again.
void fill_from(const Tensor& x, const Tensor& source) {
  Backend& backend = x.device().backend();
  for (int64_t i = 0; i < x.numel(); i += kNumbers) {
    void* to = static_cast<char*>(x.raw()) + i * size_of(x.dtype());
    backend.convert(to, source.raw(), std::min(kNumbers, x.numel() - i), x.dtype(), DType::F32);
  }
}

}  // namespace

double product_speed(Device& device, DType t, int64_t m, int64_t n, int64_t k, int64_t repeat) {
  const Tensor a = Tensor::zeros(device, {m, k}, t), b = Tensor::zeros(device, {n, k}, t),
               c = Tensor::zeros(device, {m, n}, t), noise = some_noise(device);
  // Zeros need less power than what models hold: some processors, GPUs above all, multiply them faster.
  for (const Tensor& factor : {a, b}) fill_from(factor, noise);
  // Between two waits a GPU gets as many products as hide the waits.
  const int64_t products = is_gpu(device) ? 20 : 1;
  const double seconds = best_seconds(5 * repeat, [&] {
    for (int64_t i = 0; i < products; ++i)
      device.backend().matmul(c.raw(), a.raw(), b.raw(), m, n, k, Transpose::no, Transpose::yes, t, t, Write::set);
    device.backend().synchronize();
  });
  return 2e-9 * static_cast<double>(products * m * n * k) / seconds;
}

double copy_speed(Device& device, int64_t repeat) {
  constexpr int64_t kBytes = int64_t{1} << 30, kCopies = 5;
  const Tensor from = Tensor::zeros(device, {kBytes / 4}, DType::F32),
               to = Tensor::zeros(device, {kBytes / 4}, DType::F32);
  const double seconds = best_seconds(repeat, [&] {
    for (int64_t i = 0; i < kCopies; ++i) device.backend().copy(to.raw(), from.raw(), kBytes);
    device.backend().synchronize();
  });
  return 2e-9 * static_cast<double>(kCopies * kBytes) / seconds;
}

bool is_gpu(Device& device) {
  return device.backend().kind() != "cpu";
}

int64_t side_of_large_product(Device& device) {
  return is_gpu(device) ? 8192 : 2048;
}

double best_product_speed(Device& device, DType t, int64_t repeat) {
  const int64_t side = side_of_large_product(device);
  return std::max(product_speed(device, t, side, side, side, repeat), product_speed(device, t, 512, 1536, 576, repeat));
}

Transformer model_of_shape(Device& device, const Config& config, DType t) {
  const Tensor noise = some_noise(device),
               ones = Tensor::from<float>(device, {kNumbers}, std::vector<float>(kNumbers, 1.0f));
  Transformer net(device, config, t);
  std::vector<std::pair<Tensor, DType>> weights;  // as a model that is loaded has them
  net.visit([&](const std::string&, const Tensor& w) { weights.emplace_back(w, w.dtype()); });
  place_in_one_piece(device, weights);
  net.visit(
      [&](const std::string& name, const Tensor& w) { fill_from(w, name.ends_with("norm.weight") ? ones : noise); });
  device.backend().synchronize();
  return net;
}

std::vector<int32_t> random_ids(Rng& rng, int64_t n, int64_t vocab) {
  std::vector<int32_t> ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(vocab));
  return ids;
}

double sampling_seconds(const Transformer& net, const Sampling& work, int64_t repeat) {
  Rng rng(7, Purpose::generate_data);
  std::vector<GenerateRequest> requests;
  for (int64_t i = 0; i < work.prompts; ++i)
    requests.push_back({random_ids(rng, 16, net.config().vocab), i, work.samples, 0});
  GenerateOptions options;
  options.max_new = work.new_tokens;
  options.max_rows = work.rows;
  options.sampling = {.temperature = 0.8, .top_k = 0, .top_p = 0.95, .min_p = 0.0, .greedy = false};
  return best_seconds(repeat, [&] { generate(net, requests, options); });
}

double sft_step_seconds(Transformer& net, const std::vector<int64_t>& lengths, int64_t micro_tokens, int64_t repeat) {
  Rng rng(7, Purpose::generate_data, 3);
  std::vector<SftExample> examples;
  for (int64_t length : lengths) {
    std::vector<uint8_t> trained(length, 1);
    trained[0] = 0;
    examples.push_back({random_ids(rng, length, net.config().vocab), trained});
  }
  TrainOptions options;
  options.lr = 0.0;
  options.batch = static_cast<int64_t>(lengths.size());
  options.epochs = repeat + 1;
  options.micro_tokens = micro_tokens;
  double best = 1e30;
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    if (step.step > 1) best = std::min(best, step.seconds);
  };
  train_sft(net, examples, options, hooks);
  return best;
}

}  // namespace thinker
