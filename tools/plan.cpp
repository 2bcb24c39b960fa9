#include "tools/plan.h"

#include <cstdio>
#include <ostream>

#include "tools/bench/work.h"

namespace thinker {

void print_plan(std::ostream& out, const Recipe& recipe, const Model& model, int64_t longest_prompt) {
  Device& device = model.net.device();
  const RunShape shape = run_shape(recipe, model.net, longest_prompt);
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
  const double rate = 1e9 * best_product_speed(device, model.net.dtype(), 1);
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
  const double speed = operations / seconds, possible = 1e9 * best_product_speed(device, DType::F32, 1);
  char text[200];
  std::snprintf(text, sizeof text, "products: %.2f TFLOP, %.0f GFLOP/s; %.0f %% of the %.0f that this device can do\n",
                operations * 1e-12, speed * 1e-9, 100.0 * speed / possible, possible * 1e-9);
  return text;
}

}  // namespace thinker
