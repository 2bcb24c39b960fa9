// AdamW with fp32 state, decoupled weight decay on matrices only, and clipping by the global norm.
// (Loshchilov & Hutter, arXiv 1711.05101)
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace thinker {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.0;  // not on norms and biases
  double clip = 1.0;          // the greatest norm of all gradients together; 0 turns clipping off
};

class AdamW {
 public:
  /// For a model with device() and visit(fn(name, weight)).
  template <class Model>
  AdamW(const Model& model, const AdamWOptions& options) : device_(&model.device()), options_(options) {
    model.visit([&](const std::string& name, const Tensor& weight) { add(name, weight); });
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
    Tensor weight;  // a handle on the model's
    Tensor master;  // acc; the weight itself when it is kept in acc
    Tensor m, v;    // acc
    bool decays;
  };
  void add(const std::string& name, const Tensor& weight);

  Device* device_;
  AdamWOptions options_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace thinker
