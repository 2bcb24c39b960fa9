// Drawing one token a row: softmax(logits / temperature), then top-k, top-p and min-p (tensor/backend.h).
//
// Tokens are ranked by (weight descending, id ascending), with weight = exp((logit - best) / temperature), where best
// is the largest logit that may be drawn: relative to a forbidden one all weights might underflow. A weight is at most
// 1, so the bits of its float and the inverted id make one whole number below 2^62 that is larger the higher a token
// ranks. Every filter keeps the tokens from some rank up, so it is a least rank, and the strictest filter wins. A least
// rank is found bit by bit from the highest, by asking how many tokens, or how much mass, a trial would keep. So is the
// drawn token: the one where the mass of the ids before it does not yet exceed uniform * total.
#include <vector>

#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

constexpr int kRankBits = 62;
constexpr int kIdBits = 31;
constexpr int32_t kNotFinite = -1, kNothingAllowed = -2;  // in place of an id

struct DrawnToken {
  int32_t id;
  float logprob;
};

/// The largest number of so many bits that satisfies a condition which holds up to some number and not above; 0 when
/// none does. All threads of the block ask together.
template <class Holds>
__device__ uint64_t largest_number(int bits, const Holds& holds) {
  uint64_t number = 0;
  for (int bit = bits - 1; bit >= 0; --bit) {
    const uint64_t trial = number | uint64_t{1} << bit;
    if (holds(trial)) number = trial;
  }
  return number;
}

/// One row of logits as weights.
struct Weights {
  const float* logits;
  float best, inverse_temperature;
  const int32_t* end_ids;
  int64_t forbidden;  // how many of the end ids may not be drawn: all or none
  int64_t v;

  __device__ float allowed_logit(int64_t id) const {
    for (int64_t i = 0; i < forbidden; ++i)
      if (end_ids[i] == id) return -INFINITY;
    return logits[id];
  }
  __device__ float of(int64_t id) const { return expf((allowed_logit(id) - best) * inverse_temperature); }
  __device__ static uint64_t rank(float weight, int64_t id) {
    return static_cast<uint64_t>(__float_as_uint(weight)) << 32 | (0xffffffffu - static_cast<uint32_t>(id));
  }

  __device__ double count(uint64_t least) const {
    double tokens = 0;
    for (int64_t i = threadIdx.x; i < v; i += kThreads) tokens += rank(of(i), i) >= least;
    return block_sum(tokens);
  }
  /// The mass of the ids below `end` that rank at least `least`.
  __device__ double mass(uint64_t least, uint64_t end) const {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < v && static_cast<uint64_t>(i) < end; i += kThreads) {
      const float weight = of(i);
      if (rank(weight, i) >= least) sum += weight;
    }
    return block_sum(sum);
  }
};

__device__ uint64_t least_rank_of_top_k(const Weights& w, int64_t k) {
  return largest_number(kRankBits, [&](uint64_t least) { return w.count(least) >= static_cast<double>(k); });
}

/// The lowest id with the best logit. Compared as logits: the exponentials of neighbours may be equal.
__device__ int32_t best_id(const Weights& w) {
  float lowest = -INFINITY;  // negated; ids are below 2^24, exact in a float
  for (int64_t i = threadIdx.x; i < w.v; i += kThreads) {
    if (w.allowed_logit(i) == w.best) lowest = fmax(lowest, -static_cast<float>(i));
  }
  return static_cast<int32_t>(-block_max(lowest));
}

__device__ int32_t draw(const Weights& w, double uniform, const SamplingOptions& o) {
  if (o.greedy) return best_id(w);
  uint64_t least = 0;
  if (o.top_k > 0 && o.top_k < w.v) least = least_rank_of_top_k(w, o.top_k);
  if (o.top_p < 1) {
    const double wanted = o.top_p * w.mass(least, w.v);
    const uint64_t p = largest_number(kRankBits, [&](uint64_t trial) {
      const double kept = w.mass(trial, w.v);
      return kept > 0 && kept >= wanted;  // at least one token stays
    });
    least = max(least, p);
  }
  if (o.min_p > 0)
    least =
        max(least, static_cast<uint64_t>(__float_as_uint(static_cast<float>(o.min_p))) << 32);  // the best weight is 1
  const double wanted = uniform * w.mass(least, w.v);
  return static_cast<int32_t>(largest_number(kIdBits, [&](uint64_t id) { return w.mass(least, id) <= wanted; }));
}

/// One block a row of logits (N, V).
__global__ void sample_kernel(DrawnToken* drawn, const float* logits, const SampleRow* rows, const int32_t* end_ids,
                              int64_t number_of_end_ids, SamplingOptions o, int64_t v) {
  const SampleRow row = rows[blockIdx.x];
  logits += blockIdx.x * v;
  float largest = -INFINITY;
  for (int64_t i = threadIdx.x; i < v; i += kThreads) largest = fmax(largest, logits[i]);
  largest = block_max(largest);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < v; i += kThreads) sum += expf(logits[i] - largest);
  const double lse = static_cast<double>(largest) + log(block_sum(sum));

  int32_t id = row.forced;
  if (!isfinite(lse)) {
    id = kNotFinite;
  } else if (id < 0) {
    const float inverse_temperature = o.greedy ? 1.0f : static_cast<float>(1 / o.temperature);
    Weights w{logits, 0.0f, inverse_temperature, end_ids, row.end_is_forbidden ? number_of_end_ids : 0, v};
    float best = -INFINITY;
    for (int64_t i = threadIdx.x; i < v; i += kThreads) best = fmax(best, w.allowed_logit(i));
    w.best = block_max(best);
    id = isfinite(w.best) ? draw(w, row.uniform, o) : kNothingAllowed;
  }
  if (threadIdx.x == 0) drawn[blockIdx.x] = {id, id < 0 ? 0.0f : static_cast<float>(logits[id] - lse)};
}

}  // namespace

void CudaBackend::sample(int32_t* host_ids, float* host_logprobs, const void* logits, const SampleRow* host_rows,
                         const int32_t* host_end_ids, int64_t end_ids, const SamplingOptions& options, int64_t n,
                         int64_t v) {
  if (n == 0) return;
  // In the workspace: the rows, the drawn tokens, the end ids. Each part is aligned for the next.
  const int64_t rows_bytes = n * static_cast<int64_t>(sizeof(SampleRow));
  const int64_t drawn_bytes = n * static_cast<int64_t>(sizeof(DrawnToken));
  const int64_t end_bytes = end_ids * static_cast<int64_t>(sizeof(int32_t));
  ENSURE(rows_bytes + drawn_bytes + end_bytes <= kWorkspaceBytes, "[sample] ", n, " rows are too many at once");
  char* rows = static_cast<char*>(workspace_.get());
  char* drawn = rows + rows_bytes;
  char* ends = drawn + drawn_bytes;
  copy_from_host(rows, host_rows, rows_bytes);
  copy_from_host(ends, host_end_ids, end_bytes);
  CUDA_CHECK(launch(stream(), n, sample_kernel, static_cast<void*>(drawn), logits, static_cast<const void*>(rows),
                    static_cast<const void*>(ends), end_ids, options, v));
  std::vector<DrawnToken> tokens(n);
  copy_to_host(tokens.data(), drawn, drawn_bytes);
  for (int64_t i = 0; i < n; ++i) {
    if (tokens[i].id == kNotFinite)
      fail("the model's logits are not finite: its weights are damaged or training diverged");
    ENSURE(tokens[i].id != kNothingAllowed, "every token is forbidden");
    host_ids[i] = tokens[i].id;
    host_logprobs[i] = tokens[i].logprob;
  }
}

}  // namespace thinker
