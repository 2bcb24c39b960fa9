// cuDNN's fused attention over packed sequences, behind a header that includes nothing of cuDNN's. cuDNN is loaded when
// the program starts to use the GPU, so that the program also runs where it is not installed. A build with CUDNN=0 has
// cudnn_attention_stub.cpp in place of cudnn_attention.cpp.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "tensor/backend.h"

namespace thinker {

/// What an attention over whole sequences depends on, beside its data. `longest` is rounded up, so that there are few.
struct PackedShape {
  int64_t sequences, longest, heads, kv_heads, head_dim;
  double scale;
  auto operator<=>(const PackedShape&) const = default;
};

/// Where the sequences lie, on the device, I32: the length of each (B), and where each begins in arrays of rows of H*D,
/// Hkv*D and H numbers (B+1).
struct PackedPlaces {
  int32_t *length, *q, *kv, *lse;
};

class CudnnAttention {
 public:
  /// Null with the reason in `why_not` where cuDNN is not installed, or not built in: then the reason is empty.
  static std::unique_ptr<CudnnAttention> open(cudaStream_t stream, std::string& why_not);
  ~CudnnAttention();

  /// "cuDNN 9.1.0".
  std::string version() const;

  // Backend::attention_forward and attention_backward for causal sequences in BF16, with Write::set. "", or the reason
  // why nothing was computed: cuDNN has no way to do so with sums in a fixed order, or no memory for its workspace.
  std::string forward(void* out, void* lse, const void* q, const void* k, const void* v, const PackedPlaces& places,
                      const PackedShape& s);
  std::string backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse, const void* q,
                       const void* k, const void* v, const PackedPlaces& places, const PackedShape& s);

 private:
  struct Graphs;  // cudnn_attention.cpp
  explicit CudnnAttention(std::unique_ptr<Graphs> graphs);
  std::unique_ptr<Graphs> graphs_;
};

}  // namespace thinker
