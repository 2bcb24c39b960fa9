#include "tensor/tape.h"

#include <algorithm>
#include <utility>

namespace thinker {

Tape::~Tape() {
  entries_.clear();
  device_.arena().release(begin_);
}

namespace {

bool any_wants_grad(Tape::Inputs inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor* x) { return x->defined() && x->wants_grad(); });
}

}  // namespace

void Tape::record(const char* op, const Tensor& output, Inputs inputs, std::function<void()> backward) {
  output.impl().frozen = !any_wants_grad(inputs);  // also unrecorded: checkpoint asks it of a block that just ran
  if (recording() && output.wants_grad()) entries_.push_back({op, output, false, std::move(backward)});
}

void Tape::record_in_place(const char* op, const Tensor& x, Inputs inputs, std::function<void()> backward) {
  if (any_wants_grad(inputs)) x.impl().frozen = false;
  if (recording() && x.wants_grad()) entries_.push_back({op, x, true, std::move(backward)});
}

void* Tape::upstream(const Tensor& output) const {
  ENSURE(output.grad_written(), "backward read a gradient of shape ", output.shape(), " that nobody wrote");
  return output.grad();
}

Tape::Target Tape::target(const Tensor& x) {
  Tensor::Impl& i = x.impl();
  ENSURE(!(i.is_parameter && i.frozen), "a gradient for a frozen parameter of shape ", i.shape);
  const Write write = i.grad_written ? Write::add : Write::set;
  i.grad_written = true;
  if (i.is_parameter) {
    if (!i.grad) {
      i.grad = backend().allocate(x.grad_bytes(), "the gradient of weights");
      backend().fill_zero(i.grad, x.grad_bytes());
    }
    return {i.grad, x.grad_dtype(), Write::add};
  }
  if (!i.grad) i.grad = device_.gradients().take(x.grad_bytes());
  return {i.grad, x.grad_dtype(), write};
}

bool Tape::hand_over(const Tensor& output, const Tensor& x) {
  Tensor::Impl &from = output.impl(), &to = x.impl();
  ENSURE(from.shape == to.shape && from.dtype == to.dtype, "the gradient of ", from.shape, " handed to ", to.shape);
  if (to.is_parameter || to.grad_written) return false;
  to.grad = std::exchange(from.grad, nullptr);
  to.grad_written = true;
  return true;
}

Tensor Tape::scope(const Tensor& x, const std::function<Tensor(const Tensor&)>& block) {
  if (recording()) return block(x);
  const Arena::Mark mark = device_.arena().mark();
  {
    const Tensor y = block(x);
    ENSURE(y.shape() == x.shape() && y.dtype() == x.dtype(), "scope: a block changed ", x.shape(), " to ", y.shape());
    if (!(y == x)) backend().copy(x.raw(), y.raw(), x.bytes());
  }
  device_.arena().release(mark);
  return x;
}

void Tape::backward_from(const Tensor& output, const void* upstream_on_device) {
  backend().copy(target(output).data, upstream_on_device, output.bytes());
  run_backward();
}

void Tape::run_backward() {
  ENSURE(recording(), "backward on a tape that does not record");
  while (!entries_.empty()) {
    // Popping frees the closure and with it the last handles to what only this op needed.
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (!entry.output.grad_written()) continue;
    entry.backward();
    if (entry.in_place) continue;
    Tensor::Impl& i = entry.output.impl();
    if (i.grad) device_.gradients().give_back(i.grad);  // else it was handed over
    i.grad = nullptr;
    i.grad_written = false;
  }
}

}  // namespace thinker
