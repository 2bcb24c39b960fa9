// Activation checkpointing: forward keeps only the block's input and output; backward runs the block again on a tape of
// its own, walks that tape, and passes the input's gradient on. Costs one more forward, saves the block's activations.
#include "tensor/ops.h"

namespace thinker {

Tensor checkpoint(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& block) {
  if (!tape.recording()) return block(tape, x);
  Tensor y;
  {
    y = tape.make(x.shape(), x.dtype());
    Tape inner(tape.device(), Tape::Mode::no_grad);
    const Tensor result = block(inner, x);
    ENSURE(result.shape() == x.shape() && result.dtype() == x.dtype(), "[checkpoint] a block changed ", x.shape(),
           " to ", result.shape());
    tape.backend().copy(y.raw(), result.raw(), y.bytes());
  }
  tape.record("checkpoint", y, [&tape, x, y, block] {
    Tape inner(tape.device(), Tape::Mode::record);
    Tensor input = inner.make(x.shape(), x.dtype());
    tape.backend().copy(input.raw(), x.raw(), x.bytes());
    const Tensor again = block(inner, input);
    inner.backward_from(again, tape.upstream(y));
    const Tape::Target dx = tape.target(x);
    tape.backend().accumulate(dx.data, inner.upstream(input), x.numel(), x.dtype(), dx.write);
  });
  return y;
}

}  // namespace thinker
