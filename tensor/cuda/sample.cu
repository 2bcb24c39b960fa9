// Drawing one token a row: softmax(logits / temperature), then top-k, top-p and min-p (tensor/backend.h).
//
// Tokens are ranked by (weight descending, id ascending), with weight = exp((logit - best) / temperature), where best
// is the largest logit that may be drawn: relative to a forbidden one all weights might underflow. A weight is at most
// 1, so the bits of its float and the inverted id make one whole number below 2^55 that is larger the higher a token
// ranks. Every filter keeps the tokens from some rank up, so it is a least rank, and the strictest filter wins.
//
// A least rank is found without a sort, digit by digit from the highest: all tokens that agree with the digits found so
// far are counted into the buckets of the next digit, and the bucket where the wanted number, or mass, is reached gives
// that digit. Few agree with the first digits: they are listed, and the last digits take no pass over the vocabulary.
// The drawn token is found in two steps, too: first the run of ids, then the token in it. Masses are whole numbers,
// 2^41 for the best token, so that sums do not depend on the order in which threads add; over a whole vocabulary they
// stay below 2^63.
//
// A row is read once for the best logit, once for the log-sum-exp, twice for each least rank (more often only where
// more than a thousand tokens weigh almost the same) and once to draw.
#include <cfloat>
#include <vector>

#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

constexpr int32_t kNotFinite = -1, kNothingAllowed = -2;  // in place of an id

struct DrawnToken {
  int32_t id;
  float logprob;
};

constexpr int kManyThreads = 1024;  // of a block where rows are long: decoding has few rows, and a GPU room for more

constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;
constexpr int kRankBits = 5 * kDigitBits;
constexpr int kRankIdBits = kRankBits - 30;  // the pattern of a float up to 1 is below 2^30
constexpr int kMostListed = 1024;

constexpr int kRun = 512;  // ids
constexpr int32_t kMostTokens = kRun * kBuckets;
constexpr int kBestMassBits = 41;
static_assert(kMostTokens <= int64_t{1} << kRankIdBits, "ids fit into ranks");
static_assert(kMostTokens <= int64_t{1} << (63 - kBestMassBits), "masses of a vocabulary sum to less than 2^63");

/// What a block's threads find together: shared memory.
struct Search {
  unsigned long long buckets[kBuckets];   // sums
  unsigned long long warps[kWarp];        // sums of the threads of a warp
  unsigned long long bucket, left;        // what find_bucket tells
  unsigned long long ranks[kMostListed];  // those that agree with the digits found so far
  uint32_t listed;                        // how many these are, even if more than there is room for
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

/// The sum over the lanes of a warp up to this one.
__device__ unsigned long long sum_up_to_lane(unsigned long long x) {
  for (unsigned apart = 1; apart < kWarp; apart *= 2) {
    const unsigned long long other = __shfl_up_sync(0xffffffffu, x, apart);
    if (threadIdx.x % kWarp >= apart) x += other;
  }
  return x;
}

/// Calls use(id, logit) for the tokens id, id + step … below `end`. A few are read before the first is used: reads then
/// overlap, whatever `use` waits for.
constexpr int kAtOnce = 4;
template <class Use>
__device__ void for_tokens(const float* logits, int32_t id, int32_t step, int32_t end, const Use& use) {
  for (; id < end; id += kAtOnce * step) {
    float x[kAtOnce] = {};
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (id + j * step < end) x[j] = logits[id + j * step];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (id + j * step < end) use(id + j * step, x[j]);
  }
}

/// The least rank of a weight.
__device__ uint64_t rank_of(float weight) {
  return static_cast<uint64_t>(__float_as_uint(weight)) << kRankIdBits;
}

/// The weight in a rank as a whole number: weight * 2^kBestMassBits, rounded down, but at least 1; 0 where it ranks
/// below `least`. By a shift: on some GPUs fp64 takes 64 times as long as fp32.
__device__ uint64_t mass(uint64_t rank, uint64_t least) {
  if (rank == 0 || rank < least) return 0;
  const auto bits = static_cast<uint32_t>(rank >> kRankIdBits);
  const uint64_t digits = (bits & 0x7fffff) | 0x800000;
  return max(digits << (kBestMassBits - 23) >> min(127 - (bits >> 23), 63u), uint64_t{1});
}

/// One row of logits as weights, and the search of a block of Threads in it. All threads call each function that
/// begins or ends with a barrier, together.
template <int Threads>
struct Row {
  Search& search;
  const float* logits;
  float best, inverse_temperature;
  const int32_t* end_ids;
  int64_t forbidden;  // how many of the end ids may not be drawn: all or none
  int32_t v;          // tokens that may be drawn

  /// Calls use(id, logit) for this thread's share of the tokens from `begin` up to `end`.
  template <class Use>
  __device__ void for_my_tokens(int32_t begin, int32_t end, const Use& use) const {
    for_tokens(logits, begin + static_cast<int32_t>(threadIdx.x), Threads, end, use);
  }
  /// The token's logit, or -inf where it is forbidden.
  __device__ float allowed(int32_t id, float logit) const {
    for (int64_t i = 0; i < forbidden; ++i)
      if (end_ids[i] == id) return -INFINITY;
    return logit;
  }
  /// The token's rank, or 0 where it has no weight.
  __device__ uint64_t rank(int32_t id, float logit) const {
    constexpr uint32_t kLastId = (1u << kRankIdBits) - 1;
    const float weight = expf((allowed(id, logit) - best) * inverse_temperature);
    return weight > 0 ? rank_of(weight) | (kLastId - static_cast<uint32_t>(id)) : 0;
  }

  __device__ void clear() const {
    for (int b = threadIdx.x; b < kBuckets; b += Threads) search.buckets[b] = 0;
    if (threadIdx.x == 0) search.listed = 0;
    __syncthreads();
  }
  /// search.bucket becomes the first bucket where the sum from bucket 0 on reaches `wanted` = wanted_of(sum of all),
  /// and search.left what is wanted of that bucket, at least 1; both are 0 where no sum reaches it.
  template <class WantedOf>
  __device__ void find_bucket(const WantedOf& wanted_of) const {
    constexpr int kPerThread = kBuckets / Threads, kWarps = Threads / kWarp;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    int bucket = static_cast<int>(threadIdx.x) * kPerThread;
    __syncthreads();  // all amounts are in their buckets
    unsigned long long mine = 0;
    for (int b = 0; b < kPerThread; ++b) mine += search.buckets[bucket + b];
    const unsigned long long in_warp = sum_up_to_lane(mine);
    if (lane == kWarp - 1) search.warps[warp] = in_warp;
    if (threadIdx.x == 0) search.bucket = search.left = 0;
    __syncthreads();
    const unsigned long long warps = sum_up_to_lane(lane < kWarps ? search.warps[lane] : 0);
    const uint64_t wanted = wanted_of(__shfl_sync(0xffffffffu, warps, kWarp - 1));
    const unsigned long long with_mine = __shfl_sync(0xffffffffu, warps, warp) - search.warps[warp] + in_warp;
    unsigned long long before = with_mine - mine;
    if (before < wanted && with_mine >= wanted) {  // one thread at most
      while (before + search.buckets[bucket] < wanted) before += search.buckets[bucket++];
      search.bucket = static_cast<unsigned long long>(bucket);
      search.left = wanted - before;
    }
    __syncthreads();
  }

  /// The largest rank from which up the amounts sum to at least wanted_of(sum of all), which is more than 0; 0 where
  /// all do not. amount_of(rank) tells a token's.
  template <class AmountOf, class WantedOf>
  __device__ uint64_t least_rank(const AmountOf& amount_of, const WantedOf& wanted_of) const {
    constexpr int kFirstShift = kRankBits - kDigitBits;
    uint64_t found = 0, wanted = 0;
    uint32_t listed = 0;  // none as long as too many agree
    for (int shift = kFirstShift; shift >= 0; shift -= kDigitBits) {
      clear();
      const auto count = [&](uint64_t rank) {
        // At least kBuckets for other leading digits.
        const uint64_t digit = (rank >> shift) - (found << kDigitBits);
        if (rank == 0 || digit >= kBuckets) return false;
        add_shared(&search.buckets[kBuckets - 1 - digit], amount_of(rank));
        return true;
      };
      for (uint32_t i = threadIdx.x; i < listed; i += Threads) count(search.ranks[i]);
      if (listed == 0)
        for_my_tokens(0, v, [&](int32_t id, float logit) {
          const uint64_t token = rank(id, logit);
          if (!count(token) || shift == kFirstShift) return;  // no digit is known yet: all agree
          const uint32_t at = atomicAdd(&search.listed, 1u);
          if (at < kMostListed) search.ranks[at] = token;
        });
      find_bucket([&](uint64_t total) { return shift == kFirstShift ? wanted_of(total) : wanted; });
      if (search.left == 0) return 0;
      found = found << kDigitBits | (kBuckets - 1 - search.bucket);
      wanted = search.left;
      if (listed == 0 && search.listed <= kMostListed) listed = search.listed;
      __syncthreads();  // before it is cleared
    }
    return found;
  }

  /// The lowest id with the best logit. Compared as logits: the exponentials of neighbours may be equal.
  __device__ int32_t best_id() const {
    float lowest = -INFINITY;  // negated; ids are below 2^24, exact in a float
    for_my_tokens(0, v, [&](int32_t id, float logit) {
      if (allowed(id, logit) == best) lowest = fmax(lowest, -static_cast<float>(id));
    });
    return static_cast<int32_t>(-block_max<Threads>(lowest));
  }

  /// The lowest id where the mass up to it, of what ranks at least `least`, is more than uniform * the mass of all.
  __device__ int32_t id_at(double uniform, uint64_t least) const {
    const auto lane = static_cast<int32_t>(threadIdx.x % kWarp);
    clear();
    for (auto run = static_cast<int32_t>(threadIdx.x / kWarp); run * kRun < v; run += Threads / kWarp) {
      uint64_t sum = 0;
      for_tokens(logits, run * kRun + lane, kWarp, min((run + 1) * kRun, v),
                 [&](int32_t id, float logit) { sum += mass(rank(id, logit), least); });
      sum = warp_sum(sum);
      if (lane == 0) search.buckets[run] = sum;
    }
    find_bucket([&](uint64_t total) {
      return min(static_cast<uint64_t>(uniform * static_cast<double>(total)), total - 1) + 1;
    });
    const auto begin = static_cast<int32_t>(search.bucket) * kRun;
    const uint64_t wanted = search.left;
    clear();
    for_my_tokens(begin, min(begin + kRun, v),
                  [&](int32_t id, float logit) { search.buckets[id - begin] = mass(rank(id, logit), least); });
    find_bucket([&](uint64_t) { return wanted; });
    return begin + static_cast<int32_t>(search.bucket);
  }

  __device__ int32_t draw(double uniform, const SamplingOptions& o) const {
    if (o.greedy) return best_id();
    uint64_t least = 0;
    if (o.top_k > 0 && o.top_k < v)
      least =
          least_rank([](uint64_t) { return uint64_t{1}; }, [&](uint64_t) { return static_cast<uint64_t>(o.top_k); });
    if (o.top_p < 1) {
      const auto share = [&](uint64_t total) {
        return max(static_cast<uint64_t>(ceil(o.top_p * static_cast<double>(total))), uint64_t{1});
      };
      least = max(least, least_rank([&](uint64_t rank) { return mass(rank, least); }, share));
    }
    if (o.min_p > 0) least = max(least, rank_of(static_cast<float>(o.min_p)));  // the best weight is 1
    return id_at(uniform, least);
  }
};

/// One block a row of logits (N, V).
template <int Threads>
__global__ void __launch_bounds__(kManyThreads)
    sample_kernel(DrawnToken* drawn, const float* logits, const SampleRow* rows, const int32_t* end_ids,
                  int64_t number_of_end_ids, SamplingOptions o, int64_t v) {
  __shared__ Search search;
  const SampleRow asked = rows[blockIdx.x];
  logits += blockIdx.x * v;
  // With an infinite factor the best, at 0 * infinity, would weigh NaN; with the greatest it is as good as greedy.
  const double factor = fmin(1 / o.temperature, static_cast<double>(FLT_MAX));
  Row<Threads> row{search,
                   logits,
                   0.0f,
                   o.greedy ? 1.0f : static_cast<float>(factor),
                   end_ids,
                   asked.end_is_forbidden ? number_of_end_ids : 0,
                   static_cast<int32_t>(min(o.drawable, v))};
  float largest = -INFINITY, best = -INFINITY;
  row.for_my_tokens(0, static_cast<int32_t>(v), [&](int32_t id, float logit) {
    largest = fmax(largest, logit);
    if (id < row.v) best = fmax(best, row.allowed(id, logit));
  });
  largest = block_max<Threads>(largest);
  row.best = block_max<Threads>(best);
  double sum = 0;
  row.for_my_tokens(0, static_cast<int32_t>(v), [&](int32_t, float logit) { sum += expf(logit - largest); });
  const double lse = static_cast<double>(largest) + log(block_sum<Threads>(sum));

  int32_t id = asked.forced;
  if (!isfinite(lse))
    id = kNotFinite;
  else if (id < 0)
    id = isfinite(row.best) ? row.draw(asked.uniform, o) : kNothingAllowed;
  if (threadIdx.x == 0) drawn[blockIdx.x] = {id, id < 0 ? 0.0f : static_cast<float>(logits[id] - lse)};
}

}  // namespace

void CudaBackend::sample(int32_t* host_ids, float* host_logprobs, const void* logits, const SampleRow* host_rows,
                         const int32_t* host_end_ids, int64_t end_ids, const SamplingOptions& options, int64_t n,
                         int64_t v) {
  if (n == 0) return;
  ENSURE(v <= kMostTokens, "[sample] a vocabulary of ", v);
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
  const bool large = v >= kAtOnce * kManyThreads;
  CUDA_CHECK(launch(stream(), {n, large ? kManyThreads : kThreads},
                    large ? sample_kernel<kManyThreads> : sample_kernel<kThreads>, static_cast<void*>(drawn), logits,
                    static_cast<const void*>(rows), static_cast<const void*>(ends), end_ids, options, v));
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
