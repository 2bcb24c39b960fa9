#include "tools/plan.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ostream>

#include "tensor/tensor.h"

namespace thinker {

namespace {

/// FLOP/s of a product (m, k) . (n, k)^T on this device, the best of a few.
double product_flops(Device& device, DType t, int64_t m, int64_t n, int64_t k) {
  const Tensor a = Tensor::zeros(device, {m, k}, t), b = Tensor::zeros(device, {n, k}, t),
               c = Tensor::zeros(device, {m, n}, t);
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    const auto start = std::chrono::steady_clock::now();
    device.backend().matmul(c.raw(), a.raw(), b.raw(), m, n, k, Transpose::no, Transpose::yes, t, t, Write::set);
    device.backend().synchronize();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * static_cast<double>(m * n * k) / best;
}

/// What this device's products can do: as thinker bench measures it, the faster of two shapes.
double product_flops(Device& device, DType t) {
  return std::max(product_flops(device, t, 512, 1536, 576), product_flops(device, t, 2048, 2048, 2048));
}

}  // namespace

void print_plan(std::ostream& out, const Recipe& recipe, const Model& model, const PromptSets& prompts) {
  Device& device = model.net.device();
  const RunShape shape = run_shape(recipe, model.net, longest_prompt(recipe, model.text, prompts));
  print_memory(out, model.net.config(), shape, device.backend().memory_bytes(), &device.backend());
  const auto p = static_cast<double>(model.net.parameters());
  const auto k = static_cast<double>(recipe.sampling.k), length = static_cast<double>(recipe.sampling.max_new),
             prompt = static_cast<double>(shape.sampling.prompt_length);
  const auto iterations = static_cast<double>(recipe.iterations),
             asked = iterations * static_cast<double>(recipe.prompts_per_iteration);
  const bool warms_up = recipe.thought != "none" && recipe.warmup.samples > 0;
  const double warmup = warms_up ? static_cast<double>(recipe.warmup.samples) : 0.0;
  // Upper bounds: every output as long as allowed, a pair from every prompt, every prompt as long as the longest.
  const double sampled = asked * k * length + warmup * length;
  const double pairs = recipe.dpo.steps > 0
                           ? iterations * static_cast<double>(recipe.dpo.steps) * static_cast<double>(recipe.dpo.batch)
                           : asked * static_cast<double>(recipe.dpo.epochs);
  const double trained =
      pairs * (prompt + 2.0 * length) + warmup * (prompt + length) * static_cast<double>(recipe.warmup.epochs);
  const double flops = 2.0 * p * sampled + 6.0 * p * trained;
  const double rate = product_flops(device, model.net.dtype());
  const double learning = recipe.lora ? static_cast<double>(Lora(model.net, *recipe.lora).parameters()) : p;
  char text[400];
  std::snprintf(text, sizeof text,
                "parameters          %.1f million, of which %.1f million learn\n"
                "prompts at most     %.0f tokens\n"
                "tokens at most      %.0f sampled, %.0f trained\n"
                "arithmetic at most  %.0f TFLOP; at half of this device's %.0f GFLOP/s: %.0f s\n",
                p / 1e6, learning / 1e6, prompt, sampled, trained, flops / 1e12, rate / 1e9, flops / (0.5 * rate));
  out << text << "(evaluations are not counted)\n";
}

std::string work_done(Device& device, double seconds) {
  const double operations = device.backend().product_operations();
  if (operations == 0.0) return "";
  const double speed = operations / seconds, possible = product_flops(device, DType::F32);
  char text[200];
  std::snprintf(text, sizeof text, "products: %.2f TFLOP, %.0f GFLOP/s; %.0f %% of the %.0f that this device can do\n",
                operations * 1e-12, speed * 1e-9, 100.0 * speed / possible, possible * 1e-9);
  return text;
}

}  // namespace thinker
