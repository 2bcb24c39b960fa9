// Activation checkpointing: forward keeps only the block's input and output; backward runs the block again on a tape of
// its own, walks that tape, and passes the input's gradient on. Costs one more forward, saves the block's activations.
#include "tensor/ops.h"

namespace thinker {

Tensor checkpoint(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& block) {
  if (!tape.recording()) return block(tape, copy(tape, x));  // which the block may write over
  const Tensor y = tape.make(x.shape(), x.dtype());
  Tensor result;  // wants a gradient where the block holds a parameter that does, whatever x wants
  if (!x.wants_grad()) y.freeze();
  tape.backend().copy(y.raw(), x.raw(), x.bytes());
  {
    Tape inner(tape.device(), Tape::Mode::no_grad);
    result = block(inner, y);
    ENSURE(result.shape() == x.shape() && result.dtype() == x.dtype(), "[checkpoint] a block changed ", x.shape(),
           " to ", result.shape());
    if (!(result == y)) tape.backend().copy(y.raw(), result.raw(), y.bytes());
  }
  tape.record("checkpoint", y, {&x, &result}, [&tape, x, y, block] {
    Tape inner(tape.device(), Tape::Mode::record);
    inner.backward_from(block(inner, copy(inner, x)), tape.upstream(y));  // the copy's backward gives x its gradient
  });
  return y;
}

}  // namespace thinker
