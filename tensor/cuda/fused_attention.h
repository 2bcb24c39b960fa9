// Chooses between cuDNN's attention and ours, where both can compute a call: batches of whole sequences in BF16. The
// faster one is found by measuring both when a shape is first met. Their results differ in the last bits, and a
// measurement may end differently in another run: where runs must give the same bits, set THINKER_ATTENTION to "own" or
// "cudnn", which takes the place of the measurement. With "cudnn" a batch that cuDNN cannot compute is an error.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/cudnn_attention.h"

namespace thinker {

class FusedAttention {
 public:
  /// Null with the reason in `why_not` as CudnnAttention::open. Throws Error where THINKER_ATTENTION asks for cuDNN and
  /// it is not there, or for something else.
  static std::unique_ptr<FusedAttention> open(cudaStream_t stream, std::string& why_not);
  std::string version() const { return cudnn_->version(); }

  // Backend::attention_forward and attention_backward by the faster of cuDNN and `ours`. `places` has room on the
  // device for places_bytes(s).
  void forward(const std::function<void()>& ours, void* places, void* out, void* lse, const void* q, const void* k,
               const void* v, const Segment* segments, const AttentionShape& s);
  void backward(const std::function<void()>& ours, void* places, void* dq, void* dk, void* dv, const void* dout,
                const void* out, const void* lse, const void* q, const void* k, const void* v, const Segment* segments,
                const AttentionShape& s);

  /// Whether cuDNN's attention is for this call at all.
  static bool takes(const AttentionShape& s, DType t);
  static int64_t places_bytes(const AttentionShape& s);

 private:
  enum class Choice { ours, cudnn };

  FusedAttention(cudaStream_t stream, std::unique_ptr<CudnnAttention> cudnn, std::optional<Choice> forced)
      : stream_(stream), cudnn_(std::move(cudnn)), forced_(forced) {}
  static std::optional<Choice> choice_from_environment();
  PackedPlaces fill_places(void* memory, const Segment* segments, const AttentionShape& s);
  /// Runs what was chosen for the shape, after a measurement when there is no choice yet. fused() gives the reason
  /// where cuDNN cannot.
  void run(std::map<PackedShape, Choice>& choices, const PackedShape& s, const std::function<void()>& ours,
           const std::function<std::string()>& fused);
  /// One line on stderr, for the first reason alone.
  void tell(const std::string& why_not, const PackedShape& s);
  float milliseconds(const std::function<void()>& work);

  cudaStream_t stream_;
  std::unique_ptr<CudnnAttention> cudnn_;
  std::optional<Choice> forced_;
  bool told_ = false;
  std::map<PackedShape, Choice> forward_, backward_;
};

}  // namespace thinker
