// Linear layer: y = x W^T + b.   dx = dy W,  dW += dy^T x,  db += column sums of dy.
// add_linear puts a product on top of what is there, y += x W^T: a residual connection and a low-rank adapter cost no
// (N, O) array of their own.
#include <algorithm>

#include "tensor/ops.h"

namespace thinker {

namespace {

/// dx = dy W and dW += dy^T x, each where it is wanted.
void product_backward(Tape& tape, const void* dy, const Tensor& x, const Tensor& weight) {
  Backend& backend = tape.backend();
  const int64_t n = x.dim(0), in = x.dim(1), out = weight.dim(0);
  const DType t = x.dtype();
  if (x.wants_grad()) {
    const Tape::Target dx = tape.target(x);
    backend.matmul(dx.data, dy, weight.raw(), n, in, out, Transpose::no, Transpose::no, t, dx.dtype, dx.write);
  }
  if (weight.wants_grad()) {
    const Tape::Target dw = tape.target(weight);
    backend.matmul(dw.data, dy, x.raw(), out, in, n, Transpose::yes, Transpose::no, t, dw.dtype, dw.write);
  }
}

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  ENSURE(x.shape().rank() == 2 && weight.shape().rank() == 2 && x.dim(1) == weight.dim(1), "[linear] x ", x.shape(),
         " does not fit weight ", weight.shape());
  ENSURE(!bias.defined() || (bias.numel() == weight.dim(0) && bias.dtype() == x.dtype()),
         "[linear] bias does not fit weight ", weight.shape());
}

}  // namespace

std::vector<Tensor> linears(Tape& tape, const Tensor& x, const std::vector<LinearWeight>& weights) {
  const int64_t n = x.dim(0), in = x.dim(1);
  const DType t = x.dtype();
  Backend& backend = tape.backend();
  std::vector<Tensor> ys;
  std::vector<LinearProduct> products;
  std::vector<StoredProduct> stored;
  for (const auto& [weight, bias, packed] : weights) {
    check(x, weight, bias);
    const int64_t out = weight.dim(0);
    void* y = ys.emplace_back(tape.make({n, out}, t)).raw();
    if (weight.dtype() == t)
      products.push_back({y, weight.raw(), packed, out});
    else
      stored.push_back({y, weight.raw(), weight.dtype(), out});
    ENSURE(!tape.recording() || (weight.dtype() == t && !packed), "[linear] a weight that is packed, or stored as ",
           name(weight.dtype()), " for x of ", name(t), ", is for inference: the tape must not record");
  }
  if (!products.empty()) backend.matmul_weights(products, x.raw(), n, in, t);
  if (!stored.empty()) backend.matmul_stored(stored, x.raw(), n, in, t);
  for (size_t i = 0; i < ys.size(); ++i) {
    const auto& [weight, bias, packed] = weights[i];
    const Tensor& y = ys[i];
    if (bias.defined()) backend.bias_forward(y.raw(), bias.raw(), n, y.dim(1), t);
    tape.record("linear", y, {&x, &weight, &bias}, [&tape, x, y, weight, bias] {
      const void* dy = tape.upstream(y);
      product_backward(tape, dy, x, weight);
      if (bias.defined() && bias.wants_grad())
        tape.backend().bias_backward(tape.target(bias).data, dy, y.dim(0), y.dim(1), y.dtype());
    });
  }
  return ys;
}

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, const void* packed) {
  return linears(tape, x, {{weight, bias, packed}})[0];
}

void add_linear(Tape& tape, const Tensor& y, const Tensor& x, const Tensor& weight, const void* packed) {
  check(x, weight, {});
  ENSURE(y.dtype() == x.dtype() && y.shape() == Shape({x.dim(0), weight.dim(0)}), "[add_linear] y ", y.shape(),
         " for x ", x.shape(), " and weight ", weight.shape());
  const DType t = x.dtype();
  if (packed || weight.dtype() != t) {
    const Tensor product = linear(tape, x, weight, {}, packed);
    return tape.backend().accumulate(y.raw(), product.raw(), y.numel(), t, Write::add);
  }
  tape.backend().matmul(y.raw(), x.raw(), weight.raw(), x.dim(0), weight.dim(0), x.dim(1), Transpose::no,
                        Transpose::yes, t, t, Write::add);
  tape.record_in_place("add_linear", y, {&x, &weight},
                       [&tape, x, y, weight] { product_backward(tape, tape.upstream(y), x, weight); });
}

}  // namespace thinker
