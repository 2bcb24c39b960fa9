#include "nn/lora.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "nn/weight_file.h"
#include "tensor/rng.h"

namespace thinker {

namespace {

/// "model.layers.0.mlp.up_proj.weight" -> "model.layers.0.mlp.up_proj"; empty for what is no linear layer's weight.
std::string module_of(const std::string& weight) {
  const size_t end = weight.rfind(".weight"), dot = weight.rfind('.', end - 1);
  if (end == weight.npos || dot == weight.npos) return "";
  const std::string layer = weight.substr(dot + 1, end - dot - 1);
  const auto& all = lora_targets();
  return std::find(all.begin(), all.end(), layer) == all.end() ? "" : weight.substr(0, end);
}

}  // namespace

const std::vector<std::string>& lora_targets() {
  static const std::vector<std::string> kTargets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};
  return kTargets;
}

Lora::Lora(const Transformer& model, const LoraOptions& options) : options_(options) {
  const std::set<std::string> wanted(options.targets.begin(), options.targets.end());
  ENSURE(options.rank >= 1 && options.rank <= kGreatestLoraRank && options.alpha > 0, "adapters of rank ", options.rank,
         " and alpha ", options.alpha);
  ENSURE(!wanted.empty() && wanted.size() == options.targets.size(), "adapters of no layers, or of one twice");
  // In one order, however they were named: an adapter that was read back is written as the same bytes.
  options_.targets.clear();
  for (const std::string& target : lora_targets())
    if (wanted.contains(target)) options_.targets.push_back(target);
  uint32_t index = 0;
  model.visit([&](const std::string& name, const Tensor& weight) {
    const std::string module = module_of(name);
    if (module.empty()) return;
    const uint32_t at = index++;
    if (!wanted.contains(module.substr(module.rfind('.') + 1))) return;
    of_weight_[weight.raw()] = layers_.size();
    const auto make = [&](const Shape& shape) { return Tensor::parameter(model.device(), shape, model.dtype()); };
    layers_.push_back({module, at, {make({options.rank, weight.dim(1)}), make({weight.dim(0), options.rank})}});
  });
  ENSURE(layers_.size() == wanted.size() * static_cast<size_t>(model.config().layers),
         "adapters of layers that the model does not have");
}

void Lora::initialise(uint64_t seed, uint32_t iteration) const {
  for (const Layer& l : layers_) {
    Rng rng(seed, Purpose::adapter, iteration, l.index);
    const double bound = 1.0 / std::sqrt(static_cast<double>(l.adapter.a.dim(1)));
    std::vector<float> values(l.adapter.a.numel());
    for (float& x : values) x = static_cast<float>((2.0 * rng.uniform() - 1.0) * bound);
    assign(l.adapter.a, values);
  }
}

const Adapter* Lora::find(const Tensor& weight) const {
  const auto at = of_weight_.find(weight.raw());
  return at == of_weight_.end() ? nullptr : &layers_[at->second].adapter;
}

int64_t Lora::parameters() const {
  int64_t n = 0;
  visit([&](const std::string&, const Tensor& x) { n += x.numel(); });
  return n;
}

void add_lora(Transformer& model, const LoraOptions& options, uint64_t seed, uint32_t iteration) {
  const auto lora = std::make_shared<const Lora>(model, options);
  lora->initialise(seed, iteration);
  model.attach(lora);
}

Tensor merged(const Transformer& model, const Tensor& weight) {
  const Adapter* adapter = model.lora() ? model.lora()->find(weight) : nullptr;
  if (!adapter) return weight;
  Backend& backend = model.device().backend();
  const auto& [a, b] = *adapter;
  const DType t = a.dtype(), acc = accumulator_of(t);
  const int64_t n = weight.numel();
  const auto fresh = [&] { return Tensor::empty(model.device(), weight.shape(), acc, "merged weights"); };
  const Tensor sum = fresh();
  backend.matmul(sum.raw(), b.raw(), a.raw(), b.dim(0), a.dim(1), a.dim(0), Transpose::no, Transpose::no, t, acc,
                 Write::set);
  backend.scale(sum.raw(), sum.raw(), model.lora()->scale(), n, acc, Write::set);
  Tensor wide = weight;
  if (weight.dtype() != acc) {
    wide = fresh();
    backend.convert(wide.raw(), weight.raw(), n, acc, weight.dtype());
  }
  backend.accumulate(sum.raw(), wide.raw(), n, acc, Write::add);
  return sum;
}

}  // namespace thinker
