// A device that computes nothing and holds nothing: it counts what the program would allocate on a real one. Running
// the program's own forward, backward and sampling on it tells their memory before a run starts, for models that fit
// nowhere here, and cannot disagree with what they later do.
#pragma once

#include <map>

#include "tensor/backend.h"

namespace thinker {

class DryBackend : public Backend {
 public:
  /// like: the backend whose layout of packed weights is counted, or null where there is none to pack for.
  explicit DryBackend(Backend* like) : like_(like) {}

  /// Bytes that are allocated now, and the most that ever were.
  int64_t in_use() const { return in_use_; }
  int64_t peak() const { return peak_; }

  std::string kind() const override { return like_ ? like_->kind() : "dry"; }
  std::string description() const override { return "no device: memory is counted"; }
  /// An address that nothing may be read from or written to.
  void* allocate(int64_t bytes, const char* what) override;
  void free(void* p) noexcept override;
  void copy_to_host(void* host_dst, const void* src, int64_t bytes) override;  // zeros
  int64_t packed_bytes(int64_t n, int64_t k, DType t) override { return like_ ? like_->packed_bytes(n, k, t) : 0; }
  void sample(int32_t* host_ids, float* host_logprobs, const void*, const SampleRow*, const int32_t*, int64_t,
              const SamplingOptions&, int64_t n, int64_t) override;  // token 0, always

  void copy_from_host(void*, const void*, int64_t) override {}
  void copy(void*, const void*, int64_t) override {}
  void fill_zero(void*, int64_t) override {}
  void synchronize() override {}
  void convert(void*, const void*, int64_t, DType, DType) override {}
  void matmul(void*, const void*, const void*, int64_t, int64_t, int64_t, Transpose, Transpose, DType, DType,
              Write) override {}
  void bias_forward(void*, const void*, int64_t, int64_t, DType) override {}
  void bias_backward(void*, const void*, int64_t, int64_t, DType) override {}
  void gather_forward(void*, const void*, const int32_t*, int64_t, int64_t, DType) override {}
  void gather_backward(void*, const void*, const int32_t*, int64_t, int64_t, int64_t, DType, DType, Write) override {}
  void append_to_cache(void*, void*, const void*, const void*, const int32_t*, int64_t, int64_t, DType) override {}
  void accumulate(void*, const void*, int64_t, DType, Write) override {}
  void scale(void*, const void*, double, int64_t, DType, Write) override {}
  void swiglu_forward(void*, const void*, const void*, int64_t, DType) override {}
  void swiglu_backward(void*, void*, const void*, const void*, const void*, int64_t, DType, Write, Write) override {}
  void rmsnorm_forward(void*, void*, const void*, const void*, int64_t, int64_t, double, DType) override {}
  void rmsnorm_backward(void*, void*, const void*, const void*, const void*, const void*, int64_t, int64_t, DType,
                        Write) override {}
  void rope_angles(void*, const int32_t*, const void*, int64_t, int64_t, DType) override {}
  void rope(void*, void*, const void*, int64_t, int64_t, int64_t, int64_t, int, DType) override {}
  void attention_forward(void*, void*, const void*, const void*, const void*, const Segment*, const AttentionShape&,
                         DType) override {}
  void attention_backward(void*, void*, void*, const void*, const void*, const void*, const void*, const void*,
                          const void*, const Segment*, const AttentionShape&, DType, Write, Write, Write) override {}
  void logprob_forward(void*, void*, const void*, const int32_t*, int64_t, const LogitColumns&, DType) override {}
  void logprob_backward(void*, const void*, const void*, const int32_t*, const void*, int64_t, const LogitColumns&,
                        DType, DType) override {}
  void masked_sum_forward(void*, const void*, const void*, const int32_t*, int64_t, DType) override {}
  void masked_sum_backward(void*, const void*, const void*, const int32_t*, int64_t, DType, Write) override {}
  double sum_of_squares(std::span<const ArrayView>, DType) override { return 0.0; }
  void adamw(std::span<const AdamWSlot>, OptimizerState, const AdamWStep&, DType) override {}

 private:
  Backend* like_;
  std::map<void*, int64_t> sizes_;
  uintptr_t next_ = uintptr_t{1} << 40;
  int64_t in_use_ = 0, peak_ = 0;
};

}  // namespace thinker
