// Linear layer: y = x W^T + b.   dx = dy W,  dW += dy^T x,  db += column sums of dy.
#include "tensor/ops.h"

namespace thinker {

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, const void* packed) {
  const bool stored = x.dtype() != weight.dtype();  // smaller, to be read faster
  ENSURE(x.shape().rank() == 2 && weight.shape().rank() == 2 && x.dim(1) == weight.dim(1) &&
             !(stored && tape.recording()),
         "[linear] x ", x.shape(), " ", name(x.dtype()), " does not fit weight ", weight.shape(), " ",
         name(weight.dtype()));
  const int64_t n = x.dim(0), in = x.dim(1), out = weight.dim(0);
  ENSURE(!bias.defined() || (bias.numel() == out && bias.dtype() == x.dtype()), "[linear] bias does not fit weight ",
         weight.shape());
  ENSURE(!packed || !tape.recording(), "[linear] packed weights are for inference: the tape must not record");
  const DType t = x.dtype();
  Tensor y = tape.make({n, out}, t);
  Backend& backend = tape.backend();
  if (stored)
    backend.matmul_stored(y.raw(), x.raw(), weight.raw(), n, out, in, weight.dtype(), t);
  else if (packed)
    backend.matmul_packed(y.raw(), x.raw(), weight.raw(), packed, n, out, in, t);
  else
    backend.matmul(y.raw(), x.raw(), weight.raw(), n, out, in, Transpose::no, Transpose::yes, t, t, Write::set);
  if (bias.defined()) backend.bias_forward(y.raw(), bias.raw(), n, out, t);

  tape.record("linear", y, [&tape, &backend, x, y, weight, bias, n, in, out, t] {
    const void* dy = tape.upstream(y);
    if (x.wants_grad()) {
      const Tape::Target dx = tape.target(x);
      backend.matmul(dx.data, dy, weight.raw(), n, in, out, Transpose::no, Transpose::no, t, dx.dtype, dx.write);
    }
    if (weight.wants_grad()) {
      const Tape::Target dw = tape.target(weight);
      backend.matmul(dw.data, dy, x.raw(), out, in, n, Transpose::yes, Transpose::no, t, dw.dtype, dw.write);
    }
    if (bias.defined() && bias.wants_grad()) backend.bias_backward(tape.target(bias).data, dy, n, out, t);
  });
  return y;
}

}  // namespace thinker
