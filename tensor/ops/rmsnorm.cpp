// RMSNorm: y = x * r * w with r = 1 / sqrt(mean(x^2) + eps). Saves r, one number a row. A row of x may hold several
// groups of w's size (heads), each normed by itself: to the kernels they are rows.
//   dw_c += sum over rows of dy_c x_c r
//   dx_c  = r (dy_c w_c - x_c r^2 mean over c of (dy_c w_c x_c))
#include "tensor/ops.h"

namespace thinker {

Tensor rmsnorm(Tape& tape, const Tensor& x, const Tensor& weight, double eps) {
  ENSURE(x.shape().rank() == 2 && weight.numel() > 0 && x.dim(1) % weight.numel() == 0 && x.dtype() == weight.dtype(),
         "[rmsnorm] x ", x.shape(), " does not fit weight ", weight.shape());
  const int64_t c = weight.numel(), n = x.numel() / c;
  const DType t = x.dtype();
  Tensor y = tape.make(x.shape(), t);
  Tensor rstd = tape.make({n}, accumulator_of(t));
  tape.backend().rmsnorm_forward(y.raw(), rstd.raw(), x.raw(), weight.raw(), n, c, eps, t);
  tape.record("rmsnorm", y, {&x, &weight}, [&tape, x, y, weight, rstd, n, c, t] {
    const Tape::Target dx = tape.target(x);
    void* dw = weight.wants_grad() ? tape.target(weight).data : nullptr;
    tape.backend().rmsnorm_backward(dx.data, dw, tape.upstream(y), x.raw(), weight.raw(), rstd.raw(), n, c, t,
                                    dx.write);
  });
  return y;
}

}  // namespace thinker
