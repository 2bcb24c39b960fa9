// Weighted sums over the packed sequences: y_b = sum of w_i x_i over b's rows. With weights 1 it turns token log-probs
// into sequence log-probs, with 1/T into their means, with -1/(all trained tokens) into a supervised loss.
#include "tensor/ops.h"

namespace thinker {

Tensor masked_sum(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& offsets) {
  ENSURE(x.shape().rank() == 1 && weight.shape() == x.shape() && weight.dtype() == x.dtype() &&
             offsets.dtype() == DType::I32 && offsets.numel() >= 1,
         "[masked_sum] x ", x.shape(), ", weight ", weight.shape(), ", offsets ", offsets.shape());
  const int64_t b = offsets.numel() - 1;
  const DType acc = x.dtype();
  Tensor y = tape.make({b}, acc);
  tape.backend().masked_sum_forward(y.raw(), x.raw(), weight.raw(), offsets.data<int32_t>(), b, acc);
  tape.record("masked_sum", y, {&x}, [&tape, x, y, weight, offsets, b, acc] {
    const Tape::Target dx = tape.target(x);
    // Rows outside every sequence get no gradient: the first writer starts from zeros.
    if (dx.write == Write::set) tape.backend().fill_zero(dx.data, x.bytes());
    tape.backend().masked_sum_backward(dx.data, tape.upstream(y), weight.raw(), offsets.data<int32_t>(), b, acc,
                                       Write::add);
  });
  return y;
}

}  // namespace thinker
