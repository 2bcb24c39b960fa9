// A copy: a residual connection adds to it in place. Its gradient becomes that of x, without a copy where x has none
// yet.
#include "tensor/ops.h"

namespace thinker {

Tensor copy(Tape& tape, const Tensor& x) {
  const Tensor y = tape.make(x.shape(), x.dtype());
  tape.backend().copy(y.raw(), x.raw(), x.bytes());
  tape.record("copy", y, {&x}, [&tape, x, y] {
    if (tape.hand_over(y, x)) return;
    const Tape::Target dx = tape.target(x);
    tape.backend().accumulate(dx.data, tape.upstream(y), x.numel(), x.dtype(), dx.write);
  });
  return y;
}

}  // namespace thinker
