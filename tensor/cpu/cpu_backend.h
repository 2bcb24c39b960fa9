// The CPU backend: oneDNN for products of F32, vectorised loops over OpenMP threads for the rest. Every kernel is a
// template on the scalar, instantiated for float and double; BF16 is stored and converted, not computed with.
// Each member lives in the file of its op family: matmul.cpp, gather.cpp, rmsnorm.cpp, ...
#pragma once

#include <memory>

#include "tensor/backend.h"
#include "tensor/check.h"
#include "tensor/cpu/parallel.h"

namespace thinker {

/// oneDNN's engine, stream and compiled products; defined in onednn.h, which matmul.cpp alone includes.
class Products;

class CpuBackend final : public Backend {
 public:
  CpuBackend();
  ~CpuBackend() override;

  std::string kind() const override { return "cpu"; }
  std::string description() const override;

  int64_t memory_bytes() const override;
  void* allocate(int64_t bytes, const char* what) override;
  void free(void* p) noexcept override;
  void copy_to_host(void* host_dst, const void* src, int64_t bytes) override;
  void copy_from_host(void* dst, const void* host_src, int64_t bytes) override;
  void copy(void* dst, const void* src, int64_t bytes) override;
  void fill_zero(void* dst, int64_t bytes) override;
  void synchronize() override {}
  void convert(void* dst, const void* src, int64_t n, DType dst_t, DType src_t) override;

  void matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb,
              DType t, DType out_t, Write write) override;
  bool set_product_dtype(DType t) override;
  int64_t packed_bytes(int64_t n, int64_t k, DType t) override;
  void pack(void* packed, const void* weight, int64_t n, int64_t k, DType t) override;
  void matmul_weights(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t) override;
  void store_weight(void* weight, const void* host_rows, int64_t n, int64_t k, DType t) override;
  void matmul_stored(std::span<const StoredProduct> products, const void* a, int64_t m, int64_t k, DType t) override;
  void gather_stored(void* y, const void* table, int64_t rows, const int32_t* index, int64_t n, int64_t c,
                     DType table_t, DType t) override;
  double product_operations() const override { return product_operations_; }
  void bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType t) override;
  void bias_backward(void* dbias, const void* dy, int64_t n, int64_t c, DType t) override;

  void gather_forward(void* y, const void* x, const int32_t* index, int64_t n, int64_t c, DType t) override;
  void gather_backward(void* dx, const void* dy, const int32_t* index, int64_t n, int64_t rows, int64_t c, DType dx_t,
                       DType t, Write write) override;
  void append_to_cache(void* keys, void* values, const void* k, const void* v, const int32_t* index, int64_t n,
                       int64_t c, DType t) override;

  void scale(void* y, const void* x, double factor, int64_t n, DType t, Write write) override;
  void accumulate(void* dst, const void* src, int64_t n, DType t, Write write) override;
  void swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType t) override;
  void swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, int64_t n, DType t,
                       Write write_gate, Write write_up) override;

  void rmsnorm_forward(void* y, void* rstd, const void* x, const void* w, int64_t n, int64_t c, double eps,
                       DType t) override;
  void rmsnorm_backward(void* dx, void* dw, const void* dy, const void* x, const void* w, const void* rstd, int64_t n,
                        int64_t c, DType t, Write write) override;
  void rope_angles(void* angles, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t d,
                   DType acc) override;
  void rope(void* q, void* k, const void* angles, int64_t n, int64_t hq, int64_t hk, int64_t d, int direction,
            DType t) override;

  void attention_forward(void* out, void* lse, const void* q, const void* k, const void* v, const Segment* segments,
                         const AttentionShape& s, DType t) override;
  void attention_backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                          const void* q, const void* k, const void* v, const Segment* segments, const AttentionShape& s,
                          DType t, Write write_q, Write write_k, Write write_v) override;

  void logprob_forward(void* logprob, void* lse, const void* logits, const int32_t* targets, int64_t n,
                       const LogitColumns& columns, DType acc) override;
  void logprob_backward(void* dlogits, const void* logits, const void* lse, const int32_t* targets,
                        const void* upstream, int64_t n, const LogitColumns& columns, DType acc, DType t) override;
  void masked_sum_forward(void* y, const void* x, const void* weight, const int32_t* offsets, int64_t b,
                          DType acc) override;
  void masked_sum_backward(void* dx, const void* dy, const void* weight, const int32_t* offsets, int64_t b, DType acc,
                           Write write) override;

  void sample(int32_t* host_ids, float* host_logprobs, const void* logits, const SampleRow* host_rows,
              const int32_t* host_end_ids, int64_t end_ids, const SamplingOptions& options, int64_t n,
              int64_t v) override;

  double sum_of_squares(std::span<const ArrayView> arrays, DType acc) override;
  void adamw(std::span<const AdamWSlot> slots, OptimizerState state, const AdamWStep& step, DType t) override;

 private:
  void multiply_widened(const StoredProduct& product, const float* a, int64_t m, int64_t k);
  void multiply_f32(float* out, const float* a, const float* b, int64_t m, int64_t n, int64_t k, Transpose ta,
                    Transpose tb, Write write);
  void multiply_packed(std::span<const LinearProduct> products, const float* a, int64_t m, int64_t k);

  /// Called by every product of (M, K) by (K, N).
  void count_product(int64_t m, int64_t n, int64_t k) { product_operations_ += 2.0 * static_cast<double>(m * n * k); }

  std::unique_ptr<Products> products_;
  DType product_dtype_ = DType::F32;  // what factors of products are rounded to
  DType factor_dtype_ = DType::F32;   // what they are kept as: F32, too, where the processor has no products of BF16
  double product_operations_ = 0.0;
  Scratch scratch_;  // of the threads, inside one call
  Scratch widened_;  // a stored weight, for products with many rows
};

/// Calls kernel(float{}) or kernel(double{}). Throws Error that names the op for every other dtype.
template <class Kernel>
void with_scalar(const char* op, DType t, const Kernel& kernel) {
  switch (t) {
    case DType::F32: return kernel(float{});
    case DType::F64: return kernel(double{});
    default: ENSURE(false, "[", op, "] is not available in ", name(t), " on the CPU: use F32");
  }
}

}  // namespace thinker
