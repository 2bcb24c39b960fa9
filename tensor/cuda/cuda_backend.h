// The CUDA backend: one plain kernel an op, products by cuBLASLt, everything on one stream. See tensor/backend.h for
// what each function computes; each op's kernels are in the file that bears its name.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <string>

#include "tensor/backend.h"

namespace thinker {

class Matmul;          // matmul.h
class FusedAttention;  // fused_attention.h

/// A stream, destroyed with its owner.
class CudaStream {
 public:
  CudaStream();
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Device memory, freed with its owner. Throws Error when memory is short, which names the size and what it is for.
class CudaBuffer {
 public:
  CudaBuffer(const char* what, int64_t bytes);
  ~CudaBuffer();
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

/// Memory of the host that the GPU copies from by itself, while the host goes on.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(int64_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  char* get() const { return static_cast<char*>(memory_); }

 private:
  void* memory_ = nullptr;
};

class CudaBackend final : public Backend {
 public:
  /// Takes the given GPU for the calling thread. Throws Error when it cannot be used.
  explicit CudaBackend(int gpu);
  /// Attention of whole sequences may from now on be cuDNN's, where that is faster. Returns why it cannot be, and an
  /// empty text where it can or where the program was built without cuDNN.
  std::string use_cudnn();
  ~CudaBackend() override;

  std::string kind() const override { return "cuda"; }
  std::string description() const override { return description_; }

  int64_t memory_bytes() const override;
  void* allocate(int64_t bytes, const char* what) override;
  void free(void* p) noexcept override;
  void copy_to_host(void* host_dst, const void* src, int64_t bytes) override;
  void copy_from_host(void* dst, const void* host_src, int64_t bytes) override;
  void copy(void* dst, const void* src, int64_t bytes) override;
  void fill_zero(void* dst, int64_t bytes) override;
  void synchronize() override;
  void convert(void* dst, const void* src, int64_t n, DType dst_t, DType src_t) override;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;

  void matmul_weights(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t) override;
  void matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb,
              DType t, DType out_t, Write write) override;
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
  static constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // NVIDIA's advice for cuBLASLt on Hopper
  static constexpr int64_t kStagingBytes = int64_t{1} << 20;     // the indices of many steps

  /// Memory that one purpose has, and the most that it has had, in bytes.
  struct Use {
    int64_t now = 0, most = 0;
  };
  struct Held {
    Use* use;
    int64_t bytes;
  };

  cudaStream_t stream() const { return stream_.get(); }
  std::string high_water() const;  // what has the memory, in words
  void attention_forward_tiles(void* out, void* lse, const void* q, const void* k, const void* v,
                               const Segment* segments, const AttentionShape& s, DType t);
  void attention_backward_tiles(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                                const void* q, const void* k, const void* v, const Segment* segments,
                                const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v);

  std::string description_;
  std::map<std::string, Use> uses_;
  std::map<void*, Held> held_;  // each array's bytes, and the use that they count in
  CudaStream stream_;
  CudaBuffer workspace_;  // scratch of products, sampling and sum_of_squares; the stream keeps them apart
  PinnedBuffer staging_;  // small arrays on their way to the GPU
  int64_t staged_ = 0;    // bytes of it that may still be read
  std::unique_ptr<Matmul> matmul_;
  std::unique_ptr<FusedAttention> fused_attention_;  // null without cuDNN
  bool records_ = true;                              // until that has failed once
};

}  // namespace thinker
