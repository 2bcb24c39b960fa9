// Rotary position embedding, in place: the pair (x_j, x_{j+D/2}) of each head turns by the angle position *
// frequency_j. A rotation's backward is the rotation back, applied to the gradient in place; the input is needed by
// nobody.
#include "tensor/ops.h"

namespace thinker {

Tensor rope(Tape& tape, const Tensor& x, const Tensor& positions, const Tensor& inverse_frequency) {
  ENSURE(x.shape().rank() == 2 && positions.numel() == x.dim(0) && inverse_frequency.numel() > 0, "[rope] x ",
         x.shape(), " with positions ", positions.shape());
  const int64_t d = 2 * inverse_frequency.numel();
  ENSURE(x.dim(1) % d == 0 && inverse_frequency.dtype() == accumulator_of(x.dtype()), "[rope] x ", x.shape(),
         " does not hold heads of size ", d);
  const int64_t n = x.dim(0), h = x.dim(1) / d;
  const DType t = x.dtype();
  tape.backend().rope(x.raw(), positions.data<int32_t>(), inverse_frequency.raw(), n, h, d, +1, t);
  tape.record_in_place("rope", x, {}, [&tape, x, positions, inverse_frequency, n, h, d, t] {
    tape.backend().rope(tape.upstream(x), positions.data<int32_t>(), inverse_frequency.raw(), n, h, d, -1, t);
  });
  return x;
}

}  // namespace thinker
