// The language-model head, log-softmax and pick, fused over tiles of the logits so that no (M, V) matrix is ever
// stored:
//   logprob_i = logits_i[target_i] - lse_i,  logits_i = hidden_i head^T
// Saves lse, one number a row. Backward computes each tile's logits again, forms
//   dlogits_i = (onehot(target_i) - softmax(logits_i)) upstream_i
// in place, and adds dlogits head into dhidden and dlogits^T hidden into dhead.
#include <algorithm>

#include "tensor/ops.h"

namespace thinker {

namespace {

struct TileSize {
  int64_t rows, columns;
};

/// On a CPU a tile's logits stay in the caches between the products that write and read them; longer ones go through
/// memory, which costs a quarter of the speed. Products in BF16 are a GPU's, which small ones do not fill.
TileSize tile_size(DType t) {
  return t == DType::BF16 ? TileSize{4096, 8192} : TileSize{512, 4096};
}

char* row(const Tensor& x, int64_t i) {
  const int64_t width = x.shape().rank() == 2 ? x.dim(1) : 1;
  return static_cast<char*>(x.raw()) + i * width * size_of(x.dtype());
}

/// Calls body(first row, rows, columns) for the tiles of (m, v) logits from factors of dtype t. Columns are the outer
/// loop: their part of the head is read once for all rows.
template <class Body>
void for_tiles(int64_t m, int64_t v, DType t, const Body& body) {
  const TileSize tile = tile_size(t);
  for (int64_t j = 0; j < v; j += tile.columns)
    for (int64_t i = 0; i < m; i += tile.rows)
      body(i, std::min(tile.rows, m - i), LogitColumns{j, std::min(tile.columns, v - j), v});
}

}  // namespace

Shape logits_tile(int64_t rows, int64_t v, DType t) {
  return {std::min(rows, tile_size(t).rows), std::min(v, tile_size(t).columns)};
}

Tensor token_logprob(Tape& tape, const Tensor& hidden, const Tensor& head, const Tensor& targets) {
  ENSURE(hidden.shape().rank() == 2 && head.shape().rank() == 2 && hidden.dim(1) == head.dim(1) &&
             targets.numel() == hidden.dim(0) && hidden.dtype() == head.dtype(),
         "[token_logprob] hidden ", hidden.shape(), ", head ", head.shape(), ", targets ", targets.shape());
  const int64_t m = hidden.dim(0), c = hidden.dim(1), v = head.dim(0);
  const DType t = hidden.dtype(), acc = accumulator_of(t);
  Backend& backend = tape.backend();
  Tensor logprob = tape.make({m}, acc);
  Tensor lse = tape.make({m}, acc);
  const Shape tile = logits_tile(m, v, t);
  {
    const Arena::Mark mark = tape.device().arena().mark();
    const Tensor logits = tape.make(tile, acc);
    for_tiles(m, v, t, [&](int64_t i, int64_t n, const LogitColumns& columns) {
      backend.matmul(logits.raw(), row(hidden, i), row(head, columns.first), n, columns.width, c, Transpose::no,
                     Transpose::yes, t, acc, Write::set);
      backend.logprob_forward(row(logprob, i), row(lse, i), logits.raw(), targets.data<int32_t>() + i, n, columns, acc);
    });
    tape.device().arena().release(mark);
  }

  tape.record("token_logprob", logprob, {&hidden, &head},
              [&tape, &backend, hidden, head, targets, logprob, lse, tile, m, c, v, t, acc] {
                const char* upstream = static_cast<const char*>(tape.upstream(logprob));
                const Tape::Target dhidden = tape.target(hidden),
                                   dhead = head.wants_grad() ? tape.target(head) : Tape::Target{};
                const Arena::Mark mark = tape.device().arena().mark();
                const Tensor logits = tape.make(tile, acc);
                const Tensor dlogits = acc == t ? logits : tape.make(tile, t);
                // dhidden is a sum over all columns: rounded to t at its end only.
                const Tensor sums = acc == t ? Tensor{} : tape.make({m, c}, acc);
                const Tape::Target dx = acc == t ? dhidden : Tape::Target{sums.raw(), acc, Write::set};
                for_tiles(m, v, t, [&](int64_t i, int64_t n, const LogitColumns& columns) {
                  backend.matmul(logits.raw(), row(hidden, i), row(head, columns.first), n, columns.width, c,
                                 Transpose::no, Transpose::yes, t, acc, Write::set);
                  backend.logprob_backward(dlogits.raw(), logits.raw(), row(lse, i), targets.data<int32_t>() + i,
                                           upstream + i * size_of(acc), n, columns, acc, t);
                  backend.matmul(static_cast<char*>(dx.data) + i * c * size_of(dx.dtype), dlogits.raw(),
                                 row(head, columns.first), n, c, columns.width, Transpose::no, Transpose::no, t,
                                 dx.dtype, columns.first == 0 ? dx.write : Write::add);
                  if (!dhead.data) return;
                  backend.matmul(static_cast<char*>(dhead.data) + columns.first * c * size_of(dhead.dtype),
                                 dlogits.raw(), row(hidden, i), columns.width, c, n, Transpose::yes, Transpose::no, t,
                                 dhead.dtype, i == 0 ? dhead.write : Write::add);
                });
                if (sums.defined()) {
                  const Tensor rounded = tape.make({m, c}, t);
                  backend.convert(rounded.raw(), sums.raw(), m * c, t, acc);
                  backend.accumulate(dhidden.data, rounded.raw(), m * c, t, dhidden.write);
                }
                tape.device().arena().release(mark);
              });
  return logprob;
}

}  // namespace thinker
