#include "nn/optimizer.h"

#include <cmath>

#include "tensor/safetensors.h"

namespace thinker {

namespace {

constexpr const char* kSteps = "thinker.steps";

constexpr OptimizerState kStates[] = {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit};

int64_t blocks_of(int64_t n) {
  return (n + kMomentBlock - 1) / kMomentBlock;
}

/// I32 words that hold n codes of a byte.
int64_t words_of(int64_t n) {
  return (n + 3) / 4;
}

}  // namespace

const char* name(OptimizerState state) {
  switch (state) {
    case OptimizerState::f32: return "f32";
    case OptimizerState::bf16: return "bf16";
    case OptimizerState::eight_bit: return "8bit";
  }
  return "?";
}

OptimizerState optimizer_state_from_name(const std::string& text) {
  for (OptimizerState state : kStates)
    if (text == name(state)) return state;
  fail("optimizer state \"", text, "\" is unknown: use f32, bf16 or 8bit");
}

int64_t moment_bytes(OptimizerState state, int64_t n) {
  switch (state) {
    case OptimizerState::f32: return 8 * n;
    case OptimizerState::bf16: return 4 * n;
    case OptimizerState::eight_bit: return 8 * words_of(n) + 8 * blocks_of(n);
  }
  return 0;
}

void AdamW::add(const std::string& name, const Tensor& weight) {
  const DType t = weight.dtype(), acc = accumulator_of(t);
  if (slots_.empty()) dtype_ = t;
  ENSURE(t == dtype_, "optimizer: ", name, " is in ", thinker::name(t), ", the weights before it in ",
         thinker::name(dtype_));
  Slot slot;
  slot.name = name;
  slot.weight = slot.master = weight;
  slot.decays = weight.shape().rank() >= 2;
  auto zeros = [&](const Shape& shape, DType dtype) {
    return Tensor::zeros(*device_, shape, dtype, "optimizer state");
  };
  if (options_.state == OptimizerState::f32) {
    slot.m = zeros(weight.shape(), acc);
    slot.v = zeros(weight.shape(), acc);
  } else {
    ENSURE(acc == DType::F32, "optimizer state in ", thinker::name(options_.state), " for weights in ",
           thinker::name(t));
    const bool codes = options_.state == OptimizerState::eight_bit;
    const Shape shape = codes ? Shape{words_of(weight.numel())} : weight.shape();
    slot.m = zeros(shape, codes ? DType::I32 : DType::BF16);
    slot.v = zeros(shape, codes ? DType::I32 : DType::BF16);
    if (codes) {
      slot.m_scale = zeros({blocks_of(weight.numel())}, DType::F32);
      slot.v_scale = zeros({blocks_of(weight.numel())}, DType::F32);
    }
  }
  if (acc != t) {
    // Weights in bf16 would swallow small steps: the optimizer moves an fp32 copy.
    slot.master = zeros(weight.shape(), acc);
    device_->backend().convert(slot.master.raw(), weight.raw(), weight.numel(), acc, t);
  }
  slots_.push_back(std::move(slot));
}

double AdamW::step(double lr) {
  Backend& backend = device_->backend();
  const auto scale = [](const Tensor& x) { return x.defined() ? x.data<float>() : nullptr; };
  std::vector<AdamWSlot> slots;
  std::vector<ArrayView> gradients;
  for (const Slot& s : slots_) {
    if (!s.weight.grad_written()) continue;  // took no part in any loss so far
    slots.push_back({s.weight.raw(), s.master.raw(), s.m.raw(), s.v.raw(), scale(s.m_scale), scale(s.v_scale),
                     s.weight.grad(), s.weight.numel(), s.decays});
    gradients.push_back({s.weight.grad(), s.weight.numel()});
  }
  const double norm = std::sqrt(backend.sum_of_squares(gradients, accumulator_of(dtype_)));
  if (!std::isfinite(norm)) {
    fail("the gradient is not finite at optimizer step ", steps_ + 1, ": training diverged; lower the learning rate");
  }
  ++steps_;
  const bool clips = options_.clip > 0.0 && norm > options_.clip;
  const AdamWStep step{lr,
                       options_.beta1,
                       options_.beta2,
                       options_.eps,
                       options_.weight_decay,
                       1.0 - std::pow(options_.beta1, steps_),
                       1.0 - std::pow(options_.beta2, steps_),
                       clips ? options_.clip / norm : 1.0,
                       static_cast<uint32_t>(steps_)};
  backend.adamw(slots, options_.state, step, dtype_);
  for (const Slot& s : slots_) s.weight.grad_is_zero();
  return norm;
}

void AdamW::save(const std::string& path) const {
  std::vector<TensorHeader> headers;
  std::vector<Tensor> sources;
  visit_state([&](const std::string& name, const Tensor& x) {
    headers.push_back({name, thinker::name(x.dtype()), x.shape()});
    sources.push_back(x);
  });
  std::vector<std::byte> host;
  auto data_of = [&](const TensorHeader& h) {
    for (size_t i = 0; i < headers.size(); ++i) {
      if (headers[i].name != h.name) continue;
      host.resize(sources[i].bytes());
      device_->backend().copy_to_host(host.data(), sources[i].raw(), sources[i].bytes());
    }
    return std::span<const std::byte>(host);
  };
  write_safetensors(path, headers, data_of, {{"format", "pt"}, {kSteps, std::to_string(steps_)}});
}

void AdamW::load(const std::string& path) {
  const SafetensorsFile file(path);
  visit_state([&](const std::string& name, const Tensor& x) {
    const auto it = file.tensors().find(name);
    if (it == file.tensors().end() || !(it->second.shape == x.shape()) ||
        it->second.dtype_name != thinker::name(x.dtype())) {
      fail(path, ": the optimizer state of \"", name,
           "\" is missing or does not fit this model; start the iteration again");
    }
    device_->backend().copy_from_host(x.raw(), it->second.data.data(), x.bytes());
  });
  const auto steps = file.metadata().find(kSteps);
  if (steps == file.metadata().end()) fail(path, ": is not an optimizer state (no ", kSteps, ")");
  steps_ = std::stoll(steps->second);
}

}  // namespace thinker
