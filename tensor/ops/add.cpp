// Sum of two tensors: the residual connection. Both inputs receive dy.
#include "tensor/ops.h"

namespace thinker {

Tensor add(Tape& tape, const Tensor& a, const Tensor& b) {
  ENSURE(a.shape() == b.shape() && a.dtype() == b.dtype(), "[add] ", a.shape(), " and ", b.shape());
  const int64_t n = a.numel();
  const DType t = a.dtype();
  Tensor y = tape.make(a.shape(), t);
  tape.backend().add(y.raw(), a.raw(), b.raw(), n, t);
  tape.record("add", y, {&a, &b}, [&tape, a, b, y, n, t] {
    const auto give = [&](const Tensor& x) {
      const Tape::Target dx = tape.target(x);
      tape.backend().accumulate(dx.data, tape.upstream(y), n, t, dx.write);
    };
    if (a.wants_grad()) give(a);
    if (b.wants_grad() && !tape.hand_over(y, b)) give(b);
  });
  return y;
}

}  // namespace thinker
