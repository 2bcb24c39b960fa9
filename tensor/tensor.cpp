#include "tensor/tensor.h"

namespace thinker {

Tensor::Impl::~Impl() {
  if (slot.index < 0 && data && !home) device->backend().free(data);
  if (!grad) return;
  if (is_parameter)
    device->backend().free(grad);
  else
    device->gradients().give_back(grad);
}

Tensor Tensor::empty(Device& device, const Shape& shape, DType t, const char* purpose) {
  Tensor x;
  x.impl_ = std::make_shared<Impl>();
  x.impl_->device = &device;
  x.impl_->shape = shape;
  x.impl_->dtype = t;
  x.impl_->data = device.backend().allocate(x.bytes(), purpose);
  return x;
}

Tensor Tensor::zeros(Device& device, const Shape& shape, DType t, const char* purpose) {
  Tensor x = empty(device, shape, t, purpose);
  device.backend().fill_zero(x.raw(), x.bytes());
  return x;
}

Tensor Tensor::parameter(Device& device, const Shape& shape, DType t) {
  Tensor x;
  x.impl_ = std::make_shared<Impl>();
  x.impl_->device = &device;
  x.impl_->shape = shape;
  x.impl_->dtype = t;
  x.impl_->is_parameter = true;
  return x;
}

void Tensor::place_in(const Tensor& memory, int64_t offset, DType t) const {
  Impl& i = impl();
  ENSURE(i.is_parameter && !i.data, "place_in: a tensor of shape ", i.shape, " has its memory already");
  ENSURE(i.shape[-1] % block_elements(t) == 0, "place_in: rows of shape ", i.shape, " are not whole blocks of ",
         name(t));
  i.dtype = t;
  ENSURE(offset >= 0 && offset + bytes() <= memory.bytes(), "place_in: ", bytes(), " bytes at ", offset, " of ",
         memory.bytes());
  i.data = static_cast<char*>(memory.raw()) + offset;
  i.home = memory.impl_;
}

Tensor Tensor::in_arena(Device& device, const Shape& shape, DType t) {
  Tensor x;
  x.impl_ = std::make_shared<Impl>();
  x.impl_->device = &device;
  x.impl_->shape = shape;
  x.impl_->dtype = t;
  x.impl_->data = device.arena().allocate(x.bytes(), x.impl_->slot);
  return x;
}

void* Tensor::raw() const {
  Impl& i = impl();
  if (i.is_parameter && !i.data) {
    i.data = i.device->backend().allocate(bytes(), "weights");
    i.device->backend().fill_zero(i.data, bytes());
  }
  ENSURE(i.slot.index < 0 || i.device->arena().alive(i.slot), "a tensor of shape ", i.shape,
         " was used after its tape had ended");
  return i.data;
}

void Tensor::freeze() const {
  Impl& i = impl();
  ENSURE(i.is_parameter || !i.grad, "freeze of an activation that has received a gradient");
  i.frozen = true;
  if (i.grad) i.device->backend().free(i.grad);
  i.grad = nullptr;
  i.grad_written = false;
}

void Tensor::zero_grad() const {
  Impl& i = impl();
  ENSURE(i.is_parameter, "zero_grad of a tensor that is not a parameter");
  if (i.grad) i.device->backend().fill_zero(i.grad, grad_bytes());
  grad_is_zero();
}

void Tensor::grad_is_zero() const {
  impl().grad_written = false;
}

}  // namespace thinker
