// Embedding and gather: y[i] = x[index[i]]. Backward adds dy[i] into row index[i]; indices may repeat.
#include "tensor/ops.h"

namespace thinker {

namespace {

Tensor take_rows(Tape& tape, const char* op, const Tensor& x, const Tensor& index) {
  ENSURE(x.shape().rank() == 2 && index.shape().rank() == 1 && index.dtype() == DType::I32, "[", op, "] rows of ",
         x.shape(), " by an index of shape ", index.shape(), " and dtype ", name(index.dtype()));
  const int64_t n = index.dim(0), rows = x.dim(0), c = x.dim(1);
  Tensor y = tape.make({n, c}, x.dtype());
  tape.backend().gather_forward(y.raw(), x.raw(), index.data<int32_t>(), n, c, x.dtype());
  tape.record(op, y, {&x}, [&tape, x, y, index, n, rows, c] {
    const Tape::Target dx = tape.target(x);
    tape.backend().gather_backward(dx.data, tape.upstream(y), index.data<int32_t>(), n, rows, c, dx.dtype, y.dtype(),
                                   dx.write);
  });
  return y;
}

}  // namespace

Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids, DType t) {
  if (t == table.dtype()) return take_rows(tape, "embedding", table, ids);
  ENSURE(!tape.recording(), "[embedding] a table stored as ", name(table.dtype()), " is for inference");
  const int64_t n = ids.dim(0), c = table.dim(1);
  Tensor y = tape.make({n, c}, t);
  tape.backend().gather_stored(y.raw(), table.raw(), table.dim(0), ids.data<int32_t>(), n, c, table.dtype(), t);
  return y;
}

Tensor gather(Tape& tape, const Tensor& x, const Tensor& index) {
  return take_rows(tape, "gather", x, index);
}

}  // namespace thinker
