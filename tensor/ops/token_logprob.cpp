// The language-model head, log-softmax and pick, fused over chunks of rows so that no (M, V) matrix is ever stored:
//   logprob_i = logits_i[target_i] - lse_i,  logits_i = hidden_i head^T
// Saves lse, one number a row. Backward computes each chunk's logits again, forms
//   dlogits_i = (onehot(target_i) - softmax(logits_i)) upstream_i
// in place, and adds dlogits head into dhidden and dlogits^T hidden into dhead.
#include <algorithm>

#include "tensor/ops.h"

namespace thinker {

namespace {

constexpr int64_t kChunkBytes = int64_t{32} << 20;  // of logits

/// Rows of a chunk: a full chunk's products are large enough to run at full speed, its logits small enough to keep.
int64_t rows_per_chunk(int64_t rows, int64_t v, DType acc) {
  return std::min(rows, std::max<int64_t>(16, kChunkBytes / (v * size_of(acc))));
}

char* row(const Tensor& x, int64_t i) {
  const int64_t width = x.shape().rank() == 2 ? x.dim(1) : 1;
  return static_cast<char*>(x.raw()) + i * width * size_of(x.dtype());
}

}  // namespace

Tensor token_logprob(Tape& tape, const Tensor& hidden, const Tensor& head, const Tensor& targets) {
  ENSURE(hidden.shape().rank() == 2 && head.shape().rank() == 2 && hidden.dim(1) == head.dim(1) &&
             targets.numel() == hidden.dim(0) && hidden.dtype() == head.dtype(),
         "[token_logprob] hidden ", hidden.shape(), ", head ", head.shape(), ", targets ", targets.shape());
  const int64_t m = hidden.dim(0), c = hidden.dim(1), v = head.dim(0);
  const DType t = hidden.dtype(), acc = accumulator_of(t);
  const int64_t chunk = rows_per_chunk(m, v, acc);
  Backend& backend = tape.backend();
  Tensor logprob = tape.make({m}, acc);
  Tensor lse = tape.make({m}, acc);
  {
    const Arena::Mark mark = tape.device().arena().mark();
    Tensor logits = tape.make({chunk, v}, acc);
    for (int64_t i = 0; i < m; i += chunk) {
      const int64_t n = std::min(chunk, m - i);
      backend.matmul(logits.raw(), row(hidden, i), head.raw(), n, v, c, Transpose::no, Transpose::yes, t, acc,
                     Write::set);
      backend.logprob_forward(row(logprob, i), row(lse, i), logits.raw(), targets.data<int32_t>() + i, n, v, acc);
    }
    tape.device().arena().release(mark);
  }

  tape.record("token_logprob", logprob, [&tape, &backend, hidden, head, targets, logprob, lse, m, c, v, t, acc, chunk] {
    const char* upstream = static_cast<const char*>(tape.upstream(logprob));
    const Tape::Target dhidden = tape.target(hidden);
    const bool head_learns = head.wants_grad();
    const Arena::Mark mark = tape.device().arena().mark();
    Tensor logits = tape.make({chunk, v}, acc);
    Tensor dlogits = acc == t ? logits : tape.make({chunk, v}, t);
    for (int64_t i = 0; i < m; i += chunk) {
      const int64_t n = std::min(chunk, m - i);
      backend.matmul(logits.raw(), row(hidden, i), head.raw(), n, v, c, Transpose::no, Transpose::yes, t, acc,
                     Write::set);
      backend.logprob_backward(dlogits.raw(), logits.raw(), row(lse, i), targets.data<int32_t>() + i,
                               upstream + i * size_of(acc), n, v, acc, t);
      backend.matmul(static_cast<char*>(dhidden.data) + i * c * size_of(t), dlogits.raw(), head.raw(), n, c, v,
                     Transpose::no, Transpose::no, t, t, dhidden.write);
      if (!head_learns) continue;
      const Tape::Target dhead = tape.target(head);
      backend.matmul(dhead.data, dlogits.raw(), row(hidden, i), v, c, n, Transpose::yes, Transpose::no, t, dhead.dtype,
                     dhead.write);
    }
    tape.device().arena().release(mark);
  });
  return logprob;
}

}  // namespace thinker
