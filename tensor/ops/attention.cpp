// Causal attention with grouped key/value heads over segments (tensor/backend.h): softmax(q k^T / sqrt(D)) v.
// Saves one log-sum-exp a row and head, never the scores; backward computes them again:
//   p = exp(scale q.k - lse),  dv += p dout,  ds = p (dout.v - dout.out),  dq = scale ds k,  dk += scale ds q.
// (Dao et al., arXiv 2205.14135)
#include <cmath>

#include "tensor/ops.h"

namespace thinker {

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionPlan& plan) {
  const int64_t width = plan.heads * plan.head_dim, kv_width = plan.kv_heads * plan.head_dim;
  ENSURE(plan.kv_heads > 0 && plan.heads % plan.kv_heads == 0, "[attention] ", plan.heads, " heads do not share ",
         plan.kv_heads, " key/value heads");
  ENSURE(q.shape().rank() == 2 && q.dim(1) == width && k.dim(1) == kv_width && v.shape() == k.shape(), "[attention] q ",
         q.shape(), ", k ", k.shape(), ", v ", v.shape(), " with ", plan.heads, "/", plan.kv_heads, " heads of size ",
         plan.head_dim);
  const AttentionShape s{q.dim(0),
                         k.dim(0),
                         plan.heads,
                         plan.kv_heads,
                         plan.head_dim,
                         plan.segments.dim(0),
                         1.0 / std::sqrt(static_cast<double>(plan.head_dim)),
                         plan.longest_sequence};
  const DType t = q.dtype();
  const auto* segments = reinterpret_cast<const Segment*>(plan.segments.data<int32_t>());
  Tensor out = tape.make(q.shape(), t);
  Tensor lse = tape.make({s.n, s.heads}, accumulator_of(t));
  tape.backend().attention_forward(out.raw(), lse.raw(), q.raw(), k.raw(), v.raw(), segments, s, t);
  tape.record("attention", out, {&q, &k, &v}, [&tape, q, k, v, out, lse, segments = plan.segments, s, t] {
    const Tape::Target dq = tape.target(q), dk = tape.target(k), dv = tape.target(v);
    tape.backend().attention_backward(dq.data, dk.data, dv.data, tape.upstream(out), out.raw(), lse.raw(), q.raw(),
                                      k.raw(), v.raw(), reinterpret_cast<const Segment*>(segments.data<int32_t>()), s,
                                      t, dq.write, dk.write, dv.write);
  });
  return out;
}

}  // namespace thinker
