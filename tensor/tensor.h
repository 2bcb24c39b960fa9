// A handle to an array on a device. Copies of a handle share the array. An array lives either in the device's arena
// (activations: gone when the tape that made them ends) or on its own (parameters, constants, caches).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tensor/device.h"
#include "tensor/shape.h"

namespace thinker {

class Tensor {
 public:
  /// Undefined; defined() is false and everything else throws.
  Tensor() = default;

  /// An array of its own, not cleared, freed with its last handle. Where memory runs out, it is told under the name of
  /// its purpose.
  static Tensor empty(Device& device, const Shape& shape, DType t, const char* purpose = "other arrays");
  /// The same, zero-filled.
  static Tensor zeros(Device& device, const Shape& shape, DType t, const char* purpose = "other arrays");
  /// An array of its own with values from the host.
  template <class T>
  static Tensor from(Device& device, const Shape& shape, std::span<const T> values) {
    ENSURE(static_cast<int64_t>(values.size()) == shape.numel(), "from: ", values.size(), " values for shape ", shape);
    Tensor x = empty(device, shape, DTypeOf<T>::value);
    if (!values.empty()) device.backend().copy_from_host(x.raw(), values.data(), x.bytes());
    return x;
  }
  /// A trainable array: zeros of dtype t, and a gradient in accumulator_of(t). Both get their memory when they are
  /// first used.
  static Tensor parameter(Device& device, const Shape& shape, DType t);
  /// An uninitialised activation in the device's arena. Ops call Tape::make instead.
  static Tensor in_arena(Device& device, const Shape& shape, DType t);

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl().shape; }
  int64_t dim(int i) const { return impl().shape[i]; }
  int64_t numel() const { return impl().shape.numel(); }
  int64_t bytes() const { return bytes_of(dtype(), numel()); }
  DType dtype() const { return impl().dtype; }
  bool is_parameter() const { return impl().is_parameter; }
  Device& device() const { return *impl().device; }

  /// The device pointer. Throws when the arena has been released since.
  void* raw() const;
  /// The device pointer as T. Throws on another dtype.
  template <class T>
  T* data() const {
    ENSURE(DTypeOf<T>::value == dtype(), "a tensor of ", name(dtype()), " was read as ", name(DTypeOf<T>::value));
    return static_cast<T*>(raw());
  }
  /// A copy on the host; waits for the device.
  template <class T>
  std::vector<T> to_host() const {
    ENSURE(DTypeOf<T>::value == dtype(), "a tensor of ", name(dtype()), " was copied as ", name(DTypeOf<T>::value));
    std::vector<T> values(numel());
    if (!values.empty()) device().backend().copy_to_host(values.data(), raw(), bytes());
    return values;
  }

  /// A parameter that was not used yet gets its memory inside another tensor's, `offset` bytes from its begin, not
  /// cleared: all weights in one piece are read faster than each in its own. It becomes one of dtype t: a weight that
  /// is only read may be stored smaller than what it is computed with.
  void place_in(const Tensor& memory, int64_t offset, DType t) const;

  /// False for constants and caches (arrays of their own that are no parameters) and for what is frozen. Nothing
  /// computes their gradient.
  bool wants_grad() const { return (impl().is_parameter || impl().slot.index >= 0) && !impl().frozen; }
  /// From now on nothing computes its gradient; a parameter gives the memory of its gradient back.
  void freeze() const;

  // ---- the gradient: kept by Tape (tensor/tape.h), read by optimizers and tests ----
  DType grad_dtype() const { return is_parameter() ? accumulator_of(dtype()) : dtype(); }
  int64_t grad_bytes() const { return numel() * size_of(grad_dtype()); }
  /// Null before anything was written.
  void* grad() const { return impl().grad; }
  bool grad_written() const { return impl().grad_written; }
  template <class T>
  std::vector<T> grad_to_host() const {
    ENSURE(DTypeOf<T>::value == grad_dtype(), "a gradient of ", name(grad_dtype()), " was copied as another type");
    std::vector<T> values(numel());
    if (grad_written() && !values.empty()) device().backend().copy_to_host(values.data(), grad(), grad_bytes());
    return values;
  }
  /// Parameters: the next writer starts from zero again.
  void zero_grad() const;
  /// The same where the gradient's memory holds zeros already.
  void grad_is_zero() const;

  bool operator==(const Tensor& other) const { return impl_ == other.impl_; }

 private:
  friend class Tape;
  struct Impl {
    Device* device = nullptr;
    Shape shape;
    DType dtype = DType::F32;
    void* data = nullptr;
    std::shared_ptr<Impl> home;  // whose memory holds the data, where it is not this tensor's own
    Arena::Slot slot;            // index -1: an array of its own
    bool is_parameter = false;
    bool frozen = false;  // by freeze(), or an activation of whose op no input wants a gradient
    void* grad = nullptr;
    bool grad_written = false;
    ~Impl();
  };
  Impl& impl() const {
    ENSURE(impl_ != nullptr, "an undefined tensor was used");
    return *impl_;
  }
  std::shared_ptr<Impl> impl_;
};

}  // namespace thinker
