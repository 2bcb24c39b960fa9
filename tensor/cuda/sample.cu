// Drawing one token a row: softmax(logits / temperature), then top-k, top-p and min-p (tensor/backend.h).
//
// Tokens are ranked by (weight descending, id ascending), with weight = exp((logit - best) / temperature), where best
// is the largest logit that may be drawn: relative to a forbidden one all weights might underflow. A weight is at most
// 1, so the bits of its float and the inverted id make one whole number below 2^62 that is larger the higher a token
// ranks. Every filter keeps the tokens from some rank up, so it is a least rank, and the strictest filter wins.
//
// A least rank is found without a sort, digit by digit from the highest: all tokens that agree with the digits found so
// far are counted into the buckets of the next digit, and the bucket where the wanted number, or mass, is reached gives
// that digit. The drawn token is found in the same way, among inverted ids. Masses are whole numbers, 2^41 for the best
// token, so that sums do not depend on the order in which threads add; over a whole vocabulary they stay below 2^63.
#include <cfloat>
#include <vector>

#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

constexpr int kRankBits = 62;
constexpr int kIdBits = 22;                               // vocabularies are smaller
constexpr int32_t kNotFinite = -1, kNothingAllowed = -2;  // in place of an id
constexpr int kBestMassBits = 41;
static_assert(kBestMassBits + kIdBits <= 63, "masses of a vocabulary sum to less than 2^63");

struct DrawnToken {
  int32_t id;
  float logprob;
};

constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;

/// What a block's threads find together: shared memory.
struct Search {
  unsigned long long buckets[kBuckets];        // sums by digit
  unsigned long long warps[kThreads / kWarp];  // sums of the threads of a warp
  unsigned long long digit, above;             // the digit, and what the buckets above it hold
};

/// sum += amount, among all threads of the block. Shared memory has no 64-bit addition of its own: two of 32 bits, of
/// which the first carries. Whatever the order, the sum is the same.
__device__ void add_shared(unsigned long long* sum, uint64_t amount) {
  auto* half = reinterpret_cast<uint32_t*>(sum);  // the lower half comes first
  const auto low = static_cast<uint32_t>(amount);
  const uint32_t carry = low != 0 && atomicAdd(half, low) > ~low ? 1 : 0;
  const uint32_t high = static_cast<uint32_t>(amount >> 32) + carry;
  if (high != 0) atomicAdd(half + 1, high);
}

/// Calls use(id, logit) for this thread's share of v tokens. A few are read before the first is used: reads then
/// overlap, whatever `use` waits for.
template <class Use>
__device__ void for_tokens(const float* logits, int64_t v, const Use& use) {
  constexpr int kAtOnce = 4;
  for (int64_t begin = threadIdx.x; begin < v; begin += kAtOnce * kThreads) {
    float x[kAtOnce] = {};
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (begin + j * kThreads < v) x[j] = logits[begin + j * kThreads];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (begin + j * kThreads < v) use(begin + j * kThreads, x[j]);
  }
}

/// The largest key r below 2^bits for which the amounts of all keys from r up sum to at least `wanted`; 0 when there is
/// none. key_of(i, logit) and amount_of(i, logit) tell of token i < v; an amount of 0 is not counted. All threads of
/// the block ask together.
template <class KeyOf, class AmountOf>
__device__ uint64_t largest_key(Search& search, int bits, uint64_t wanted, const float* logits, int64_t v,
                                const KeyOf& key_of, const AmountOf& amount_of) {
  constexpr int kPerThread = kBuckets / kThreads;
  uint64_t key = 0;
  for (int digits = (bits + kDigitBits - 1) / kDigitBits; digits > 0; --digits) {
    const int shift = (digits - 1) * kDigitBits;
    for (int b = threadIdx.x; b < kBuckets; b += kThreads) search.buckets[b] = 0;
    __syncthreads();
    for_tokens(logits, v, [&](int64_t i, float logit) {
      const uint64_t amount = amount_of(i, logit);
      if (amount == 0) return;
      // At least kBuckets for other leading digits.
      const uint64_t digit = (key_of(i, logit) >> shift) - (key << kDigitBits);
      if (digit < kBuckets) add_shared(&search.buckets[digit], amount);
    });
    __syncthreads();
    // Each thread has a run of buckets, thread 0 the highest.
    const int top = kBuckets - 1 - static_cast<int>(threadIdx.x) * kPerThread;
    unsigned long long mine = 0;
    for (int b = 0; b < kPerThread; ++b) mine += search.buckets[top - b];
    unsigned long long above = mine;  // first with the thread's own
    for (unsigned apart = 1; apart < kWarp; apart *= 2) {
      const unsigned long long other = __shfl_up_sync(0xffffffffu, above, apart);
      if (threadIdx.x % kWarp >= apart) above += other;
    }
    if (threadIdx.x % kWarp == kWarp - 1) search.warps[threadIdx.x / kWarp] = above;
    if (threadIdx.x == 0) search.digit = search.above = 0;
    __syncthreads();
    above -= mine;
    for (unsigned warp = 0; warp < threadIdx.x / kWarp; ++warp) above += search.warps[warp];
    if (above < wanted && above + mine >= wanted) {  // one thread at most
      int b = 0;
      while (above + search.buckets[top - b] < wanted) above += search.buckets[top - b++];
      search.digit = static_cast<unsigned long long>(top - b);
      search.above = above;
    }
    __syncthreads();
    key = key << kDigitBits | search.digit;
    wanted -= search.above;
    __syncthreads();  // before the shared arrays are written again
  }
  return key;
}

/// One row of logits as weights.
struct Weights {
  Search& search;
  const float* logits;
  float best, inverse_temperature;
  const int32_t* end_ids;
  int64_t forbidden;  // how many of the end ids may not be drawn: all or none
  int64_t v;          // tokens that may be drawn

  /// The token's logit, or -inf where it is forbidden.
  __device__ float allowed(int64_t id, float logit) const {
    for (int64_t i = 0; i < forbidden; ++i)
      if (end_ids[i] == id) return -INFINITY;
    return logit;
  }
  __device__ float of(int64_t id, float logit) const { return expf((allowed(id, logit) - best) * inverse_temperature); }
  __device__ static uint64_t rank(float weight, int64_t id) {
    return static_cast<uint64_t>(__float_as_uint(weight)) << 32 | (0xffffffffu - static_cast<uint32_t>(id));
  }

  /// A weight as a whole number: at least 1 where it is not 0, and 0 for what ranks below `least`.
  __device__ uint64_t mass(int64_t id, float logit, uint64_t least) const {
    const float weight = of(id, logit);
    if (weight == 0 || rank(weight, id) < least) return 0;
    // weight * 2^kBestMassBits, rounded down, by a shift: on some GPUs fp64 takes 64 times as long as fp32.
    const uint32_t bits = __float_as_uint(weight);
    const int shift = static_cast<int>(bits >> 23) - (127 + 23 - kBestMassBits);
    const uint64_t digits = (bits & 0x7fffff) | 0x800000;
    if (shift <= -24) return 1;
    return max(shift >= 0 ? digits << shift : digits >> -shift, uint64_t{1});
  }
  /// The mass of all that ranks at least `least`.
  __device__ uint64_t total(uint64_t least) const {
    uint64_t sum = 0;
    for_tokens(logits, v, [&](int64_t i, float logit) { sum += mass(i, logit, least); });
    return block_sum(sum);
  }
};

/// The least rank that top-k keeps.
__device__ uint64_t least_rank_of_top_k(const Weights& w, int64_t k) {
  return largest_key(
      w.search, kRankBits, static_cast<uint64_t>(k), w.logits, w.v,
      [&](int64_t i, float logit) { return w.rank(w.of(i, logit), i); }, [](int64_t, float) { return uint64_t{1}; });
}

/// The least rank that top-p keeps of what ranks at least `least`.
__device__ uint64_t least_rank_of_top_p(const Weights& w, uint64_t least, double p) {
  const auto wanted = static_cast<uint64_t>(ceil(p * static_cast<double>(w.total(least))));
  return largest_key(
      w.search, kRankBits, wanted > 0 ? wanted : 1, w.logits, w.v,
      [&](int64_t i, float logit) { return w.rank(w.of(i, logit), i); },
      [&](int64_t i, float logit) { return w.mass(i, logit, least); });
}

/// The lowest id with the best logit. Compared as logits: the exponentials of neighbours may be equal.
__device__ int32_t best_id(const Weights& w) {
  float lowest = -INFINITY;  // negated; ids are below 2^24, exact in a float
  for_tokens(w.logits, w.v, [&](int64_t i, float logit) {
    if (w.allowed(i, logit) == w.best) lowest = fmax(lowest, -static_cast<float>(i));
  });
  return static_cast<int32_t>(-block_max(lowest));
}

__device__ int32_t draw(const Weights& w, double uniform, const SamplingOptions& o) {
  if (o.greedy) return best_id(w);
  uint64_t least = 0;
  if (o.top_k > 0 && o.top_k < w.v) least = least_rank_of_top_k(w, o.top_k);
  if (o.top_p < 1) least = max(least, least_rank_of_top_p(w, least, o.top_p));
  if (o.min_p > 0)
    least =
        max(least, static_cast<uint64_t>(__float_as_uint(static_cast<float>(o.min_p))) << 32);  // the best weight is 1
  // The lowest id where the mass up to it is more than uniform * total.
  const uint64_t total = w.total(least);
  const uint64_t before = min(static_cast<uint64_t>(uniform * static_cast<double>(total)), total - 1);
  const uint64_t last = (uint64_t{1} << kIdBits) - 1;
  const uint64_t inverted = largest_key(
      w.search, kIdBits, before + 1, w.logits, w.v, [&](int64_t i, float) { return last - static_cast<uint64_t>(i); },
      [&](int64_t i, float logit) { return w.mass(i, logit, least); });
  return static_cast<int32_t>(last - inverted);
}

/// One block a row of logits (N, V).
__global__ void sample_kernel(DrawnToken* drawn, const float* logits, const SampleRow* rows, const int32_t* end_ids,
                              int64_t number_of_end_ids, SamplingOptions o, int64_t v) {
  __shared__ Search search;
  const SampleRow row = rows[blockIdx.x];
  logits += blockIdx.x * v;
  float largest = -INFINITY;
  for_tokens(logits, v, [&](int64_t, float logit) { largest = fmax(largest, logit); });
  largest = block_max(largest);
  double sum = 0;
  for_tokens(logits, v, [&](int64_t, float logit) { sum += expf(logit - largest); });
  const double lse = static_cast<double>(largest) + log(block_sum(sum));

  int32_t id = row.forced;
  if (!isfinite(lse)) {
    id = kNotFinite;
  } else if (id < 0) {
    // With an infinite factor the best, at 0 * infinity, would weigh NaN; with the greatest it is as good as greedy.
    const double factor = fmin(1 / o.temperature, static_cast<double>(FLT_MAX));
    const float inverse_temperature = o.greedy ? 1.0f : static_cast<float>(factor);
    const int64_t drawable = min(o.drawable, v), forbidden = row.end_is_forbidden ? number_of_end_ids : 0;
    Weights w{search, logits, 0.0f, inverse_temperature, end_ids, forbidden, drawable};
    float best = -INFINITY;
    for_tokens(logits, drawable, [&](int64_t i, float logit) { best = fmax(best, w.allowed(i, logit)); });
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
  ENSURE(v < int64_t{1} << kIdBits, "[sample] a vocabulary of ", v);
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
