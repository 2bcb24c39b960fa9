// Multiplication by a number: y = f x, dx = f dy.
#include "tensor/ops.h"

namespace thinker {

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  const int64_t n = x.numel();
  const DType t = x.dtype();
  Tensor y = tape.make(x.shape(), t);
  tape.backend().scale(y.raw(), x.raw(), factor, n, t, Write::set);
  tape.record("scale", y, {&x}, [&tape, x, y, factor, n, t] {
    const Tape::Target dx = tape.target(x);
    ENSURE(dx.dtype == t, "[scale] a parameter of ", name(t), " keeps its gradient in ", name(dx.dtype));
    tape.backend().scale(dx.data, tape.upstream(y), factor, n, t, dx.write);
  });
  return y;
}

}  // namespace thinker
