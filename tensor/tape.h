// The tape: eager reverse-mode differentiation. An op computes at once and, when the tape records, leaves one closure
// that knows its backward. The order of recording is topological, so backward walks the closures from the last to the
// first. There is no graph and no search.
//
// The one rule of accumulation: the first writer of an activation's gradient overwrites, later writers add; a
// parameter's gradient is always added to (Tensor::zero_grad starts it again). An activation's gradient is given
// back to a pool as soon as the op that made the activation has used it.
//
// What nobody wants is not computed: an op none of whose inputs wants a gradient (frozen parameters, constants, and
// what was made of such alone) is not recorded, and its output wants none either.
//
// A tape is a scope: when it ends, every activation made during its life is released.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace thinker {

class Tape {
 public:
  enum class Mode { record, no_grad };

  Tape(Device& device, Mode mode) : device_(device), mode_(mode), begin_(device.arena().mark()) {}
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Device& device() { return device_; }
  Backend& backend() { return device_.backend(); }
  bool recording() const { return mode_ == Mode::record; }

  // ---- for ops ------------------------------------------------------------------------------------------------
  /// An uninitialised activation that lives as long as this tape (or the scope around it).
  Tensor make(const Shape& shape, DType t) { return Tensor::in_arena(device_, shape, t); }
  /// Host values as an activation: indices, weights of a sum.
  template <class T>
  Tensor from(const Shape& shape, std::span<const T> values) {
    ENSURE(static_cast<int64_t>(values.size()) == shape.numel(), "from: ", values.size(), " values for ", shape);
    Tensor x = make(shape, DTypeOf<T>::value);
    if (!values.empty()) backend().copy_from_host(x.raw(), values.data(), x.bytes());
    return x;
  }
  template <class T>
  Tensor from(const std::vector<T>& values) {
    return from<T>({static_cast<int64_t>(values.size())}, std::span<const T>(values));
  }

  /// The differentiable inputs of an op; undefined ones are passed over.
  using Inputs = std::initializer_list<const Tensor*>;
  /// Records the backward of the op that made `output` of `inputs`, if one of these wants a gradient. It runs only when
  /// `output` received a gradient.
  void record(const char* op, const Tensor& output, Inputs inputs, std::function<void()> backward);
  /// The same for an op that changed `x` in place, by `inputs` or by itself: the gradient of `x` stays, for the op that
  /// made `x`.
  void record_in_place(const char* op, const Tensor& x, Inputs inputs, std::function<void()> backward);

  /// Inside a backward: the gradient that arrived at an op's output.
  void* upstream(const Tensor& output) const;
  /// Inside a backward: where to write a gradient, and how. A frozen parameter has no such place; for any other tensor
  /// that wants no gradient it is memory that nobody reads.
  struct Target {
    void* data;
    DType dtype;
    Write write;
  };
  Target target(const Tensor& x);
  /// Inside a backward, as its last use of the gradient that arrived at `output`: x gets it as it is, without a copy.
  /// False, and nothing done, where x already has one to add to or keeps it elsewhere.
  bool hand_over(const Tensor& output, const Tensor& x);

  // ---- for models ---------------------------------------------------------------------------------------------
  /// Runs a block x -> y of equal shape. Unrecorded, y is written over x's memory, by the block itself or after it, and
  /// all that the block allocated is released: a long forward keeps one residual stream and one block's temporaries.
  /// Recorded, it just runs.
  Tensor scope(const Tensor& x, const std::function<Tensor(const Tensor&)>& block);

  /// Walks the tape back from `output` with the given gradient (host values in output's dtype). Once per tape.
  template <class T>
  void backward(const Tensor& output, std::span<const T> upstream_values) {
    ENSURE(DTypeOf<T>::value == output.dtype() && static_cast<int64_t>(upstream_values.size()) == output.numel(),
           "backward: ", upstream_values.size(), " upstream values for a tensor of shape ", output.shape());
    backend().copy_from_host(target(output).data, upstream_values.data(), output.bytes());
    run_backward();
  }
  /// The same with a device pointer.
  void backward_from(const Tensor& output, const void* upstream_on_device);

 private:
  struct Entry {
    const char* op;
    Tensor output;
    bool in_place;
    std::function<void()> backward;
  };
  void run_backward();

  Device& device_;
  Mode mode_;
  Arena::Mark begin_;
  std::vector<Entry> entries_;
};

}  // namespace thinker
