#include "nn/optimizer.h"

#include <cmath>

#include "tensor/safetensors.h"

namespace thinker {

namespace {

constexpr const char* kSteps = "thinker.steps";

}  // namespace

void AdamW::add(const std::string& name, const Tensor& weight) {
  const DType t = weight.dtype(), acc = accumulator_of(t);
  Slot slot{name,
            weight,
            weight,
            Tensor::zeros(*device_, weight.shape(), acc),
            Tensor::zeros(*device_, weight.shape(), acc),
            weight.shape().rank() >= 2};
  if (acc != t) {
    // Weights in bf16 would swallow small steps: the optimizer moves an fp32 copy.
    slot.master = Tensor::zeros(*device_, weight.shape(), acc);
    device_->backend().convert(slot.master.raw(), weight.raw(), weight.numel(), acc, t);
  }
  slots_.push_back(std::move(slot));
}

double AdamW::step(double lr) {
  Backend& backend = device_->backend();
  double squares = 0.0;
  for (const Slot& s : slots_) {
    if (s.weight.grad_written())
      squares += backend.sum_of_squares(s.weight.grad(), s.weight.numel(), s.weight.grad_dtype());
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) {
    fail("the gradient is not finite at optimizer step ", steps_ + 1, ": training diverged; lower the learning rate");
  }
  ++steps_;
  const bool clips = options_.clip > 0.0 && norm > options_.clip;
  AdamWStep step{lr,
                 options_.beta1,
                 options_.beta2,
                 options_.eps,
                 0.0,
                 1.0 - std::pow(options_.beta1, steps_),
                 1.0 - std::pow(options_.beta2, steps_),
                 clips ? options_.clip / norm : 1.0};
  for (const Slot& s : slots_) {
    if (!s.weight.grad_written()) continue;  // took no part in any loss so far
    step.weight_decay = s.decays ? options_.weight_decay : 0.0;
    backend.adamw(s.weight.raw(), s.master.raw(), s.m.raw(), s.v.raw(), s.weight.grad(), s.weight.numel(), step,
                  s.weight.dtype());
    s.weight.zero_grad();
  }
  return norm;
}

void AdamW::save(const std::string& path) const {
  std::vector<TensorHeader> headers;
  std::vector<Tensor> sources;
  auto append = [&](const std::string& name, const Tensor& x) {
    headers.push_back({name, x.dtype() == DType::F64 ? "F64" : "F32", x.shape()});
    sources.push_back(x);
  };
  for (const Slot& s : slots_) {
    append("m." + s.name, s.m);
    append("v." + s.name, s.v);
    if (!(s.master == s.weight)) append("master." + s.name, s.master);
  }
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
  auto read = [&](const std::string& name, const Tensor& x) {
    const auto it = file.tensors().find(name);
    if (it == file.tensors().end() || !(it->second.shape == x.shape()) ||
        static_cast<int64_t>(it->second.data.size()) != x.bytes()) {
      fail(path, ": the optimizer state of \"", name,
           "\" is missing or does not fit this model; start the iteration again");
    }
    device_->backend().copy_from_host(x.raw(), it->second.data.data(), x.bytes());
  };
  for (const Slot& s : slots_) {
    read("m." + s.name, s.m);
    read("v." + s.name, s.v);
    if (!(s.master == s.weight)) read("master." + s.name, s.master);
  }
  const auto steps = file.metadata().find(kSteps);
  if (steps == file.metadata().end()) fail(path, ": is not an optimizer state (no ", kSteps, ")");
  steps_ = std::stoll(steps->second);
}

}  // namespace thinker
