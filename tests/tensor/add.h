// The sum of two tensors as an op: what a test gives a tensor several consumers with. (A model adds products to its
// residual stream, in place.)
#pragma once

#include "tensor/ops.h"

namespace thinker::test {

inline Tensor add(Tape& tape, const Tensor& a, const Tensor& b) {
  ENSURE(a.shape() == b.shape() && a.dtype() == b.dtype(), "[add] ", a.shape(), " and ", b.shape());
  const int64_t n = a.numel();
  const DType t = a.dtype();
  Tensor y = tape.make(a.shape(), t);
  tape.backend().copy(y.raw(), a.raw(), y.bytes());
  tape.backend().accumulate(y.raw(), b.raw(), n, t, Write::add);
  tape.record("add", y, {&a, &b}, [&tape, a, b, y, n, t] {
    for (const Tensor& x : {a, b}) {
      if (!x.wants_grad()) continue;
      const Tape::Target dx = tape.target(x);
      tape.backend().accumulate(dx.data, tape.upstream(y), n, t, dx.write);
    }
  });
  return y;
}

}  // namespace thinker::test
