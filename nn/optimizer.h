// AdamW with decoupled weight decay on matrices only, and clipping by the global norm. Its state is kept in fp32, or on
// request in bf16 or 8 bits (tensor/adamw.h). (Loshchilov & Hutter, arXiv 1711.05101)
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace thinker {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.0;  // not on norms and biases
  double clip = 1.0;          // the greatest norm of all gradients together; 0 turns clipping off
  OptimizerState state = OptimizerState::f32;
};

/// "f32", "bf16" or "8bit", and back. Throws Error naming all three.
const char* name(OptimizerState state);
OptimizerState optimizer_state_from_name(const std::string& name);

/// Bytes of both moments of n weights that are computed with in fp32, scales included.
int64_t moment_bytes(OptimizerState state, int64_t n);

class AdamW {
 public:
  /// For a model with device() and visit_trained(fn(name, weight)). Moments in fewer bits than fp32 are for weights in
  /// F32 or BF16.
  template <class Model>
  AdamW(const Model& model, const AdamWOptions& options) : device_(&model.device()), options_(options) {
    model.visit_trained([&](const std::string& name, const Tensor& weight) { add(name, weight); });
  }

  /// Clips, updates every weight, clears the gradients. Returns the norm before clipping. Throws Error, leaving the
  /// weights untouched, when the norm is not finite.
  double step(double lr);

  int64_t steps() const { return steps_; }

  /// Writes the state to FILE.safetensors (moments, masters, step), atomically; load() gives back the same bits.
  void save(const std::string& path) const;
  /// Throws Error when the file does not fit the model.
  void load(const std::string& path);

 private:
  struct Slot {
    std::string name;
    Tensor weight;            // a handle on the model's
    Tensor master;            // acc; the weight itself when it is kept in acc
    Tensor m, v;              // acc or BF16, of the weight's shape; in 8 bits I32 words of four codes
    Tensor m_scale, v_scale;  // F32, one a block of codes; undefined for the others
    bool decays;
  };
  /// Calls fn(name, tensor) for everything that save() writes.
  template <class Fn>
  void visit_state(Fn&& fn) const {
    for (const Slot& s : slots_) {
      fn("m." + s.name, s.m);
      fn("v." + s.name, s.v);
      if (s.m_scale.defined()) fn("m_scale." + s.name, s.m_scale);
      if (s.v_scale.defined()) fn("v_scale." + s.name, s.v_scale);
      if (!(s.master == s.weight)) fn("master." + s.name, s.master);
    }
  }
  void add(const std::string& name, const Tensor& weight);

  Device* device_;
  AdamWOptions options_;
  std::vector<Slot> slots_;
  DType dtype_ = DType::F32;  // of all weights
  int64_t steps_ = 0;
};

}  // namespace thinker
