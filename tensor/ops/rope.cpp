// Rotary position embedding, in place: the pair (x_j, x_{j+D/2}) of each head turns by the angle position *
// frequency_j. A rotation's backward is the rotation back, applied to the gradient in place; the input is needed by
// nobody.
#include "tensor/ops.h"

namespace thinker {

Tensor rope_angles(Tape& tape, const Tensor& positions, const Tensor& inverse_frequency) {
  const int64_t n = positions.numel(), d = 2 * inverse_frequency.numel();
  ENSURE(d > 0, "[rope] no frequencies");
  Tensor angles = tape.make({n, d}, inverse_frequency.dtype());
  tape.backend().rope_angles(angles.raw(), positions.data<int32_t>(), inverse_frequency.raw(), n, d, angles.dtype());
  return angles;
}

void rope(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& angles) {
  const int64_t n = angles.dim(0), d = angles.dim(1);
  const DType t = q.dtype();
  for (const Tensor& x : {q, k})
    ENSURE(!x.defined() || (x.shape().rank() == 2 && x.dim(0) == n && x.dim(1) % d == 0 && x.dtype() == t &&
                            angles.dtype() == accumulator_of(t)),
           "[rope] x ", x.shape(), " does not hold heads of size ", d, " in ", n, " rows");
  const auto heads = [d](const Tensor& x) { return x.defined() ? x.dim(1) / d : 0; };
  tape.backend().rope(q.raw(), k.defined() ? k.raw() : nullptr, angles.raw(), n, heads(q), heads(k), d, +1, t);
  for (const Tensor& x : {q, k})
    if (x.defined())
      tape.record_in_place("rope", x, {}, [&tape, x, angles, n, h = heads(x), d, t] {
        tape.backend().rope(tape.upstream(x), nullptr, angles.raw(), n, h, 0, d, -1, t);
      });
}

}  // namespace thinker
