// The kernels that a device must supply, at transformer level. The CPU and the CUDA backend derive from Backend, so a
// missing kernel does not compile.
//
// Conventions
// - Outputs first, then inputs, then sizes. Shapes are row-major; the letters are those of tensor/shape.h.
// - `t` is the dtype of activations and weights. "acc" marks arrays kept in accumulator_of(t): F32, or F64 for F64.
// - Write::set overwrites an output, Write::add adds to it. Gradients of parameters are acc; of activations, t.
// - All pointers are device pointers, except where a name says host. Kernels may run asynchronously until
// synchronize().
// - A kernel that sums does so in an order fixed by its arguments: the same call gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "tensor/check.h"
#include "tensor/dtype.h"

namespace thinker {

enum class Write { set, add };
enum class Transpose { no, yes };

/// A run of query rows and the keys that it may see: first the whole optional prefix, then its own rows causally.
/// Query i (0-based) sees prefix_len rows from prefix_begin, and own rows up to own_len - query_len + i inclusive.
/// In training the own rows are the query rows themselves; in decoding they lie in a cache and hold earlier tokens too.
struct Segment {
  int32_t query_begin, query_len;
  int32_t prefix_begin, prefix_len;
  int32_t own_begin, own_len;  // own_len >= query_len
};

/// Sizes of an attention call. q, out: (N, H, D); k, v: (rows, Hkv, D); segments cover all N query rows.
struct AttentionShape {
  int64_t n;         // query rows
  int64_t key_rows;  // rows of k and v
  int64_t heads, kv_heads, head_dim;
  int64_t segments;
  double scale;  // multiplies q.k before the softmax
  // Where the segments are whole sequences behind each other (longest_sequence() below), the length of the longest;
  // else 0. Backends may have a faster way for those.
  int64_t longest_sequence = 0;
};

/// The length of the longest segment where all are whole sequences: no prefix, own rows that are the query rows, and
/// these behind each other from row 0 on. Else 0.
inline int64_t longest_sequence(std::span<const Segment> segments) {
  int64_t end = 0, longest = 0;
  for (const Segment& s : segments) {
    const bool whole = s.query_begin == end && s.prefix_len == 0 && s.own_begin == end && s.own_len == s.query_len;
    if (!whole || s.query_len == 0) return 0;
    end += s.query_len;
    longest = longest < s.query_len ? s.query_len : longest;
  }
  return longest;
}

/// An array of n numbers.
struct ArrayView {
  const void* data;
  int64_t n;
};

/// One AdamW step (Loshchilov & Hutter, "Decoupled Weight Decay Regularization"), bias corrections already formed.
struct AdamWStep {
  double lr, beta1, beta2, eps, weight_decay;
  double correction1, correction2;  // 1 - beta^step
  double grad_scale;                // multiplies the gradient first: clipping by the global norm
  uint32_t number = 0;              // of this step, from 1: what rounding at random depends on
};

/// How AdamW's moments are kept: 8, 4 or 2 bytes a weight (tensor/adamw.h).
enum class OptimizerState { f32, bf16, eight_bit };

/// What an AdamW step reads and writes of a tensor of n weights.
struct AdamWSlot {
  void* weight;              // (n), in the weights' own dtype; the same as master where that is acc
  void* master;              // acc (n)
  void *m, *v;               // (n): acc, or bf16, or codes of a byte, of which v's are of its root
  float *m_scale, *v_scale;  // (ceil(n / kMomentBlock)) with eight_bit
  void* grad;                // acc (n); zeros after the step
  int64_t n;
  bool decays;  // whether the step's weight_decay is for this tensor
};

/// Moments that share a scale.
constexpr int64_t kMomentBlock = 256;

/// How a token is drawn from a row of logits: softmax(logits / temperature), then the top_k most probable (0: all),
/// then the smallest set of most probable ones whose mass reaches top_p, then those with at least min_p times the
/// greatest probability. The temperature comes first, as in transformers and vLLM: it changes what top_p keeps.
/// (top_p is nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751; min_p is Nguyen et al., arXiv 2407.01082.)
struct SamplingOptions {
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  bool greedy = false;
  int64_t drawable = INT64_MAX;  // ids from here up are never drawn: an embedding may have rows that are no tokens
};

/// What one row asks of `sample`.
struct SampleRow {
  double uniform;         // in [0, 1): picks from the kept tokens in the order of their ids
  int32_t forced;         // >= 0: this id is taken and only its log-prob computed
  bool end_is_forbidden;  // the ids listed as end ids are never drawn
};

/// Columns [first, first + width) of logits (N, vocabulary): as many as stay in the caches.
struct LogitColumns {
  int64_t first, width, vocabulary;
};

/// A weight (N, K) and where its product goes. packed: null, or what Backend::pack made of the weight.
struct LinearProduct {
  void* out;
  const void* weight;
  const void* packed;
  int64_t n;
};

/// A weight (N, K) that is stored as weight_t, and where its product goes.
struct StoredProduct {
  void* out;
  const void* weight;
  DType weight_t;
  int64_t n;
};

/// Kernels that a device was told once and can run again, on the same memory.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void run() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// "cpu" or "cuda".
  virtual std::string kind() const = 0;
  /// The hardware's own name, for reports.
  virtual std::string description() const = 0;

  // ---- memory -------------------------------------------------------------------------------------------------
  /// All memory of the device, used or not; 0 where it is not known.
  virtual int64_t memory_bytes() const { return 0; }
  /// 64-byte aligned, not cleared. Throws Error when memory is short, which names the size and what it is for.
  virtual void* allocate(int64_t bytes, const char* what) = 0;
  virtual void free(void* p) noexcept = 0;
  virtual void copy_to_host(void* host_dst, const void* src, int64_t bytes) = 0;  // waits until done
  virtual void copy_from_host(void* dst, const void* host_src, int64_t bytes) = 0;
  virtual void copy(void* dst, const void* src, int64_t bytes) = 0;  // ranges do not overlap
  virtual void fill_zero(void* dst, int64_t bytes) = 0;
  virtual void synchronize() = 0;
  /// dst[i] = src[i] with a change of dtype among F32, F64 and BF16.
  virtual void convert(void* dst, const void* src, int64_t n, DType dst_t, DType src_t) = 0;
  /// What `work` starts is not done, but kept to be run later. It must not ask the device for memory, wait, or exchange
  /// anything with the host. Null where the device cannot record it.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& /*work*/) { return nullptr; }

  // ---- products -----------------------------------------------------------------------------------------------
  /// out (M, N) = op(a) (M, K) . op(b) (K, N), accumulated in acc. op transposes as told: with Transpose::yes, a is
  /// stored (K, M) and b is stored (N, K). a and b have dtype t, out has dtype out_t (t or acc).
  virtual void matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta,
                      Transpose tb, DType t, DType out_t, Write write) = 0;
  /// From now on products of F32 round both factors to `t`, BF16 or F32 again, and add up in fp32; those inside of
  /// attention, too, where the processor has a tile unit. Whether it has instructions for such products, twice as fast;
  /// rounded factors are multiplied as floats otherwise. Only the CPU's backend has the choice: others throw Error.
  virtual bool set_product_dtype(DType t) {
    ENSURE(t == DType::F32, "products of F32 are not computed in ", name(t));
    return true;
  }
  /// Bytes of a weight (N, K) in the layout that products with few rows read fastest; 0 where a device gains nothing by
  /// a second layout. Decoding multiplies by the same weights at every step: there it pays to pack them once.
  virtual int64_t packed_bytes(int64_t /*n*/, int64_t /*k*/, DType) { return 0; }
  /// packed = the weight (N, K) in that layout. packed is 64-byte aligned.
  virtual void pack(void* /*packed*/, const void* /*weight*/, int64_t /*n*/, int64_t /*k*/, DType) {}
  /// out (M, N) = a (M, K) . weight (N, K)^T for each of the weights, all of dtype t; packed ones were packed with the
  /// dtype of products that still holds. One call for all weights that meet the same a: it is prepared once, and a
  /// kernel may compute several.
  virtual void matmul_weights(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t) {
    for (const LinearProduct& p : products)
      matmul(p.out, a, p.weight, m, p.n, k, Transpose::no, Transpose::yes, t, t, Write::set);
  }
  // Weights that are only read may be stored in fewer bits than what they are multiplied with: BF16, or blocks.
  /// weight (N, K), stored as t, = rows as files have them, in the host's memory, elsewhere. The device may give them
  /// an order of its own in as many bytes, which only matmul_stored and gather_stored read.
  virtual void store_weight(void* weight, const void* host_rows, int64_t n, int64_t k, DType t) {
    copy_from_host(weight, host_rows, bytes_of(t, n * k));
  }
  /// out (M, N) = a (M, K) . weight (N, K)^T for each of the weights. Their values enter as they are; those of a may be
  /// rounded to about 2^-24 of the greatest of 32 neighbours. One call for all weights that meet the same a: threads
  /// wait for each other once. A row of out has the same bits whatever the other rows are, as long as they are few.
  virtual void matmul_stored(std::span<const StoredProduct> products, const void* /*a*/, int64_t /*m*/, int64_t /*k*/,
                             DType /*t*/) {
    fail("weights stored as ", name(products.front().weight_t), " are for the CPU only");
  }
  /// y (N, C) = rows index (N) of a table (rows, C) stored as table_t.
  virtual void gather_stored(void* /*y*/, const void* /*table*/, int64_t /*rows*/, const int32_t* /*index*/,
                             int64_t /*n*/, int64_t /*c*/, DType table_t, DType /*t*/) {
    fail("weights stored as ", name(table_t), " are for the CPU only");
  }
  /// Multiplications and additions of all products so far, attention's not among them: what the time of a whole run is
  /// compared with. 0 where a device does not count.
  virtual double product_operations() const { return 0.0; }
  /// y (N, C) += bias (C), row by row.
  virtual void bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType t) = 0;
  /// dbias acc (C) += column sums of dy (N, C).
  virtual void bias_backward(void* dbias, const void* dy, int64_t n, int64_t c, DType t) = 0;

  // ---- rows ---------------------------------------------------------------------------------------------------
  /// y (N, C) = x[index[i]] (rows, C). Serves embedding (x = table) and gather.
  virtual void gather_forward(void* y, const void* x, const int32_t* index, int64_t n, int64_t c, DType t) = 0;
  /// dx[index[i]] += dy[i]; indices may repeat, the sum is in a fixed order. dx has dtype dx_t (t, or acc for a
  /// parameter); dx has `rows` rows and is zeroed first with Write::set.
  virtual void gather_backward(void* dx, const void* dy, const int32_t* index, int64_t n, int64_t rows, int64_t c,
                               DType dx_t, DType t, Write write) = 0;
  /// keys[index[i]] = k[i] and values[index[i]] = v[i], all (.., C); no index repeats.
  virtual void append_to_cache(void* keys, void* values, const void* k, const void* v, const int32_t* index, int64_t n,
                               int64_t c, DType t) = 0;

  // ---- element-wise -------------------------------------------------------------------------------------------
  /// y = factor x or y += factor x; y may be x.
  virtual void scale(void* y, const void* x, double factor, int64_t n, DType t, Write write) = 0;
  /// dst = src or dst += src.
  virtual void accumulate(void* dst, const void* src, int64_t n, DType t, Write write) = 0;
  /// y = silu(gate) * up, all (N, F) with n = N*F elements; silu(x) = x / (1 + exp(-x)).
  virtual void swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType t) = 0;
  virtual void swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, int64_t n,
                               DType t, Write write_gate, Write write_up) = 0;

  // ---- normalisation and position -----------------------------------------------------------------------------
  /// y (N, C) = x / sqrt(mean(x^2) + eps) * w; rstd acc (N) is kept for backward.
  virtual void rmsnorm_forward(void* y, void* rstd, const void* x, const void* w, int64_t n, int64_t c, double eps,
                               DType t) = 0;
  /// dx (N, C) by `write`; dw acc (C) is added to, or skipped when null.
  virtual void rmsnorm_backward(void* dx, void* dw, const void* dy, const void* x, const void* w, const void* rstd,
                                int64_t n, int64_t c, DType t, Write write) = 0;
  /// angles acc (N, D): the D/2 cosines, then the sines, of position[i] * inverse_frequency[j]; that is acc (D/2). All
  /// layers turn by the same.
  virtual void rope_angles(void* angles, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t d,
                           DType acc) = 0;
  /// Rotates q (N, Hq, D) and k (N, Hk, D) in place by the angles of their rows, pairing j with j + D/2
  /// ("rotate-half"). direction +1 is forward; -1 undoes it, which is the backward of the gradient. k may be null with
  /// Hk = 0.
  virtual void rope(void* q, void* k, const void* angles, int64_t n, int64_t hq, int64_t hk, int64_t d, int direction,
                    DType t) = 0;

  // ---- attention ----------------------------------------------------------------------------------------------
  /// out (N, H, D) = softmax(scale * q.k^T) v over each query's visible keys; query head h reads kv head h/(H/Hkv).
  /// lse acc (N, H) is the log-sum-exp of the scaled scores, kept for backward.
  virtual void attention_forward(void* out, void* lse, const void* q, const void* k, const void* v,
                                 const Segment* segments, const AttentionShape& s, DType t) = 0;
  /// Gradients of all three, by one `write` each. Segments may share key rows; their sums are in a fixed order.
  virtual void attention_backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                                  const void* q, const void* k, const void* v, const Segment* segments,
                                  const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v) = 0;

  // ---- log-probabilities --------------------------------------------------------------------------------------
  /// logits acc (N, width) are some columns of (N, V); called for all of them, from the first on. lse acc (N) becomes
  /// the log-sum-exp of the columns so far; after the last ones, logprob acc (N) = logits[target] - lse.
  virtual void logprob_forward(void* logprob, void* lse, const void* logits, const int32_t* targets, int64_t n,
                               const LogitColumns& columns, DType acc) = 0;
  /// dlogits = (onehot(target) - softmax) * upstream[i] for the same columns, from lse of all; upstream acc (N) is the
  /// gradient of logprob. The result is also what the products read, so it is written as dtype t to dlogits (may alias
  /// logits when t is acc).
  virtual void logprob_backward(void* dlogits, const void* logits, const void* lse, const int32_t* targets,
                                const void* upstream, int64_t n, const LogitColumns& columns, DType acc, DType t) = 0;
  /// y acc (B) = sum over i in [offsets[b], offsets[b+1]) of weight[i] * x[i]; offsets I32 (B+1); x, weight acc.
  virtual void masked_sum_forward(void* y, const void* x, const void* weight, const int32_t* offsets, int64_t b,
                                  DType acc) = 0;
  /// dx[i] = weight[i] * dy[sequence of i], by `write`.
  virtual void masked_sum_backward(void* dx, const void* dy, const void* weight, const int32_t* offsets, int64_t b,
                                   DType acc, Write write) = 0;

  /// Draws one token a row from logits acc F32 (N, V): host_ids (N), and host_logprobs (N) at temperature 1 over the
  /// full distribution. Equal probabilities rank by lower id. Waits. Throws when a row of logits is not finite.
  virtual void sample(int32_t* host_ids, float* host_logprobs, const void* logits, const SampleRow* host_rows,
                      const int32_t* host_end_ids, int64_t end_ids, const SamplingOptions& options, int64_t n,
                      int64_t v) = 0;

  // ---- optimizer ----------------------------------------------------------------------------------------------
  // Each of these takes all tensors of a model at once: most are too small to be worth a launch of their own.
  /// Sum of squares of all arrays, which are acc, in double, waited for.
  virtual double sum_of_squares(std::span<const ArrayView> arrays, DType acc) = 0;
  /// Updates master, m and v of each slot from its grad, writes weight from master, and clears grad. Moments in fewer
  /// bits are widened, advanced and rounded again; then t is F32 or BF16.
  virtual void adamw(std::span<const AdamWSlot> slots, OptimizerState state, const AdamWStep& step, DType t) = 0;
};

/// The CPU backend: oneDNN for products, OpenMP for the rest. F32 and F64; BF16 for storage and conversion.
std::unique_ptr<Backend> make_cpu_backend();

/// Why there is no CUDA backend.
struct NoCuda {
  std::string reason;
  bool has_gpu = false;  // one that cannot be used: another process has it or its memory, or its driver is too old
};

/// The CUDA backend on the first GPU, or null with the reason in `why_not` (no GPU that can be used, no driver, or
/// built without CUDA).
std::unique_ptr<Backend> make_cuda_backend(NoCuda& why_not);

}  // namespace thinker
