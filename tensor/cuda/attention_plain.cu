// Causal attention over segments (tensor/backend.h) without tiles: one block a query row and head, or a key row and
// key/value head. For F64, which gradient checks want, and for heads wider than tiles are.
// A block works on kThreads keys (or queries) at a time: first each thread computes the score of one of them, then each
// thread sums one of the D columns over all of them.
// Forward is an online softmax: the largest score so far, the sum of exp(score - largest) and the weighted sum of
// values are rescaled when a larger score turns up. It saves lse = largest + log(sum). Backward computes the scores
// again:
//   p = exp(scale q.k - lse),  dv = sum p dout,  ds = p (dout.v - dout.out),  dq = scale sum ds k,  dk = scale sum ds q
// with the sums of dk and dv over segments, queries and heads in ascending order.
// (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135)
#include "tensor/cuda/attention.cuh"

namespace thinker {

namespace {

/// The keys that one query sees: the whole prefix, then own rows up to its own.
struct VisibleKeys {
  int64_t count = 0, prefix_len = 0, prefix_begin = 0, own_begin = 0;
  __device__ int64_t row(int64_t j) const { return j < prefix_len ? prefix_begin + j : own_begin + (j - prefix_len); }
};

__device__ VisibleKeys visible_keys(const Segment* segments, int64_t count, int64_t query) {
  VisibleKeys keys;
  for (int64_t i = 0; i < count; ++i) {
    const Segment& g = segments[i];
    if (query < g.query_begin || query >= g.query_begin + g.query_len) continue;
    keys.prefix_len = g.prefix_len;
    keys.prefix_begin = g.prefix_begin;
    keys.own_begin = g.own_begin;
    keys.count = g.prefix_len + g.own_len - g.query_len + (query - g.query_begin) + 1;
    break;
  }
  return keys;
}

/// The first query (0-based) of a segment that sees a key row as part of its prefix; query_len when none does.
__device__ int64_t first_query_by_prefix(const Segment& g, int64_t key) {
  const int64_t j = key - g.prefix_begin;
  return j >= 0 && j < g.prefix_len ? 0 : g.query_len;
}

/// The same as one of the segment's own rows.
__device__ int64_t first_query_by_own(const Segment& g, int64_t key) {
  const int64_t j = key - g.own_begin, earlier = g.own_len - g.query_len;
  if (j < 0 || j >= g.own_len) return g.query_len;
  return j < earlier ? 0 : j - earlier;
}

template <class T>
__device__ Acc<T> dot(const Acc<T>* a, const T* b, int64_t d) {
  Acc<T> sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += a[i] * load(b + i);
  return sum;
}

/// One block a query row and head.
template <class T>
__global__ void attention_forward_kernel(T* out, Acc<T>* lse, const T* q, const T* k, const T* v,
                                         const Segment* segments, AttentionShape s) {
  using A = Acc<T>;
  __shared__ A query[kThreads], weight[kThreads];
  const int thread = threadIdx.x;
  const int64_t row = blockIdx.x / s.heads, head = blockIdx.x % s.heads, d = s.head_dim;
  const int64_t kv_head = head / (s.heads / s.kv_heads);
  const int64_t at = (row * s.heads + head) * d;
  const VisibleKeys keys = visible_keys(segments, s.segments, row);
  if (thread < d) query[thread] = load(q + at + thread);
  __syncthreads();

  A largest = -INFINITY, sum = 0, value = 0;
  for (int64_t begin = 0; begin < keys.count; begin += kThreads) {
    const int64_t j = begin + thread;
    A score = -INFINITY;
    if (j < keys.count) score = static_cast<A>(s.scale) * dot(query, k + (keys.row(j) * s.kv_heads + kv_head) * d, d);
    const A larger = fmax(largest, block_max(score));
    const A shrink = exp(largest - larger);          // 0 for the first keys
    weight[thread] = exp(score - larger);            // 0 beyond the last key
    sum = sum * shrink + block_sum(weight[thread]);  // its barriers also publish `weight`
    largest = larger;
    if (thread < d) {
      value *= shrink;
      for (int64_t i = 0; i < kThreads && begin + i < keys.count; ++i)
        value += weight[i] * load(v + (keys.row(begin + i) * s.kv_heads + kv_head) * d + thread);
    }
    __syncthreads();  // before `weight` is written again
  }
  if (thread < d) store(out + at + thread, value / sum);
  if (thread == 0) lse[row * s.heads + head] = largest + log(sum);
}

/// dq: one block a query row and head.
template <class T>
__global__ void attention_backward_q_kernel(T* dq, const T* dout, const T* out, const Acc<T>* lse, const T* q,
                                            const T* k, const T* v, const Segment* segments, AttentionShape s,
                                            Write write) {
  using A = Acc<T>;
  __shared__ A query[kThreads], upstream[kThreads], dscore[kThreads];
  const int thread = threadIdx.x;
  const int64_t row = blockIdx.x / s.heads, head = blockIdx.x % s.heads, d = s.head_dim;
  const int64_t kv_head = head / (s.heads / s.kv_heads);
  const int64_t at = (row * s.heads + head) * d;
  const A scale = static_cast<A>(s.scale), log_sum = lse[row * s.heads + head];
  const VisibleKeys keys = visible_keys(segments, s.segments, row);
  if (thread < d) {
    query[thread] = load(q + at + thread);
    upstream[thread] = load(dout + at + thread);
  }
  __syncthreads();
  const A mean = dot(upstream, out + at, d);  // dout.out

  A sum = 0;
  for (int64_t begin = 0; begin < keys.count; begin += kThreads) {
    const int64_t j = begin + thread;
    if (j < keys.count) {
      const int64_t key = (keys.row(j) * s.kv_heads + kv_head) * d;
      const A p = exp(scale * dot(query, k + key, d) - log_sum);
      dscore[thread] = p * (dot(upstream, v + key, d) - mean);
    }
    __syncthreads();
    if (thread < d)
      for (int64_t i = 0; i < kThreads && begin + i < keys.count; ++i)
        sum += dscore[i] * load(k + (keys.row(begin + i) * s.kv_heads + kv_head) * d + thread);
    __syncthreads();  // before `dscore` is written again
  }
  if (thread < d) store(dq + at + thread, scale * sum, write);
}

/// dk and dv: one block a key row and key/value head. It walks all segments and, in each, the queries that see the key.
template <class T>
__global__ void attention_backward_kv_kernel(T* dk, T* dv, const T* dout, const T* out, const Acc<T>* lse, const T* q,
                                             const T* k, const T* v, const Segment* segments, AttentionShape s,
                                             Write write_k, Write write_v) {
  using A = Acc<T>;
  __shared__ A key[kThreads], value[kThreads], weight[kThreads], dscore[kThreads];
  __shared__ int64_t place[kThreads];  // where in q, out and dout the thread's query and head begin
  const int thread = threadIdx.x;
  const int64_t row = blockIdx.x / s.kv_heads, kv_head = blockIdx.x % s.kv_heads, d = s.head_dim;
  const int64_t at = (row * s.kv_heads + kv_head) * d;
  const int64_t group = s.heads / s.kv_heads;  // query heads that read this key
  const A scale = static_cast<A>(s.scale);
  if (thread < d) {
    key[thread] = load(k + at + thread);
    value[thread] = load(v + at + thread);
  }
  __syncthreads();

  A sum_k = 0, sum_v = 0;
  // Twice over the segments: part 0 looks for the key in a segment's prefix, part 1 among its own rows.
  for (int64_t i = 0; i < 2 * s.segments; ++i) {
    const Segment& g = segments[i / 2];
    const int64_t first = i % 2 == 0 ? first_query_by_prefix(g, row) : first_query_by_own(g, row);
    const int64_t readers = (g.query_len - first) * group;  // pairs of a query and a head
    for (int64_t begin = 0; begin < readers; begin += kThreads) {
      const int64_t reader = begin + thread;
      if (reader < readers) {
        const int64_t query_row = g.query_begin + first + reader / group;
        const int64_t row_and_head = query_row * s.heads + kv_head * group + reader % group;
        const int64_t start = row_and_head * d;
        A mean = 0;  // dout.out
        for (int64_t c = 0; c < d; ++c) mean += load(dout + start + c) * load(out + start + c);
        const A p = exp(scale * dot(key, q + start, d) - lse[row_and_head]);
        weight[thread] = p;
        dscore[thread] = p * (dot(value, dout + start, d) - mean);
        place[thread] = start;
      }
      __syncthreads();
      if (thread < d) {
        for (int64_t r = 0; r < kThreads && begin + r < readers; ++r) {
          sum_k += dscore[r] * load(q + place[r] + thread);
          sum_v += weight[r] * load(dout + place[r] + thread);
        }
      }
      __syncthreads();  // before the shared arrays are written again
    }
  }
  if (thread >= d) return;
  store(dk + at + thread, scale * sum_k, write_k);
  store(dv + at + thread, sum_v, write_v);
}

void check_head_size(const AttentionShape& s) {
  ENSURE(s.head_dim <= kThreads, "[attention] heads of size ", s.head_dim, "; the CUDA kernels take at most ",
         kThreads);
}

}  // namespace

void attention_forward_plain(cudaStream_t stream, void* out, void* lse, const void* q, const void* k, const void* v,
                             const Segment* segments, const AttentionShape& s, DType t) {
  check_head_size(s);
  for_dtype("attention", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream, s.n * s.heads, attention_forward_kernel<T>, out, lse, q, k, v, segments, s));
  });
}

void attention_backward_plain(cudaStream_t stream, void* dq, void* dk, void* dv, const void* dout, const void* out,
                              const void* lse, const void* q, const void* k, const void* v, const Segment* segments,
                              const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v) {
  check_head_size(s);
  for_dtype("attention", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream, s.n * s.heads, attention_backward_q_kernel<T>, dq, dout, out, lse, q, k, v, segments, s,
                      write_q));
    CUDA_CHECK(launch(stream, s.key_rows * s.kv_heads, attention_backward_kv_kernel<T>, dk, dv, dout, out, lse, q, k, v,
                      segments, s, write_k, write_v));
  });
}

}  // namespace thinker
