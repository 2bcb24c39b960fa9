// Change to the accumulator's dtype: y = x, dx = dy, rounded. A number that is compared with others, such as a reward,
// must not be formed in BF16's eight bits.
#include "tensor/ops.h"

namespace thinker {

Tensor widen(Tape& tape, const Tensor& x) {
  const DType t = x.dtype(), acc = accumulator_of(t);
  if (acc == t) return x;
  Tensor y = tape.make(x.shape(), acc);
  Backend& backend = tape.backend();
  const int64_t n = x.numel();
  backend.convert(y.raw(), x.raw(), n, acc, t);
  tape.record("widen", y, {&x}, [&tape, &backend, x, y, n, t, acc] {
    const void* dy = tape.upstream(y);
    const Tape::Target dx = tape.target(x);
    if (dx.dtype == acc) {  // a parameter's
      backend.accumulate(dx.data, dy, n, acc, dx.write);
    } else if (dx.write == Write::set) {
      backend.convert(dx.data, dy, n, t, acc);
    } else {
      const Tensor narrow = tape.make(x.shape(), t);
      backend.convert(narrow.raw(), dy, n, t, acc);
      backend.accumulate(dx.data, narrow.raw(), n, t, dx.write);
    }
  });
  return y;
}

}  // namespace thinker
