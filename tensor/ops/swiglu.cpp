// SwiGLU: y = silu(gate) * up, silu(g) = g s with s = 1 / (1 + exp(-g)).
//   dup = dy silu(g),  dgate = dy up s (1 + g (1 - s))
#include "tensor/ops.h"

namespace thinker {

Tensor swiglu(Tape& tape, const Tensor& gate, const Tensor& up) {
  ENSURE(gate.shape() == up.shape() && gate.dtype() == up.dtype(), "[swiglu] gate ", gate.shape(), " and up ",
         up.shape());
  const int64_t n = gate.numel();
  const DType t = gate.dtype();
  Tensor y = tape.make(gate.shape(), t);
  tape.backend().swiglu_forward(y.raw(), gate.raw(), up.raw(), n, t);
  tape.record("swiglu", y, {&gate, &up}, [&tape, gate, up, y, n, t] {
    const Tape::Target dgate = tape.target(gate), dup = tape.target(up);
    tape.backend().swiglu_backward(dgate.data, dup.data, tape.upstream(y), gate.raw(), up.raw(), n, t, dgate.write,
                                   dup.write);
  });
  return y;
}

}  // namespace thinker
