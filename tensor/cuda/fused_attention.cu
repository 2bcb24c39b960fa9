// What cuDNN needs to be told of a packed batch, and the measurement that decides between it and our kernels.
#include <cstdio>
#include <cstdlib>

#include "tensor/cuda/fused_attention.h"
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

// Sequences are filled up to a multiple of this many rows, in what cuDNN is told: each new length costs it a plan.
constexpr int64_t kLengthStep = 256;

/// One block writes the places of all sequences, whose rows follow each other in the order of the segments.
__global__ void places_kernel(PackedPlaces places, const Segment* segments, int64_t sequences, int32_t heads,
                              int32_t kv_heads, int32_t d) {
  for (int64_t i = threadIdx.x; i <= sequences; i += kThreads) {
    const int32_t begin =
        i < sequences ? segments[i].query_begin : segments[i - 1].query_begin + segments[i - 1].query_len;
    if (i < sequences) places.length[i] = segments[i].query_len;
    places.q[i] = begin * heads * d;
    places.kv[i] = begin * kv_heads * d;
    places.lse[i] = begin * heads;
  }
}

/// Numbers from one array of places to the next: cuDNN is promised that each begins at a multiple of 16 bytes.
int64_t places_step(const AttentionShape& s) {
  constexpr int64_t kAligned = 4;
  return (s.segments + 1 + kAligned - 1) / kAligned * kAligned;
}

PackedShape packed_shape(const AttentionShape& s) {
  const int64_t longest = (s.longest_sequence + kLengthStep - 1) / kLengthStep * kLengthStep;
  return {s.segments, longest, s.heads, s.kv_heads, s.head_dim, s.scale};
}

/// An event, destroyed with its owner.
class CudaEvent {
 public:
  CudaEvent() { CUDA_CHECK(cudaEventCreate(&event_)); }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

std::unique_ptr<FusedAttention> FusedAttention::open(cudaStream_t stream, std::string& why_not) {
  const std::optional<Choice> forced = choice_from_environment();
  auto cudnn = CudnnAttention::open(stream, why_not);
  if (!cudnn && forced == Choice::cudnn)
    fail("THINKER_ATTENTION=cudnn: ", why_not.empty() ? "this build has no cuDNN" : why_not);
  if (!cudnn) return nullptr;
  return std::unique_ptr<FusedAttention>(new FusedAttention(stream, std::move(cudnn), forced));
}

std::optional<FusedAttention::Choice> FusedAttention::choice_from_environment() {
  const char* value = std::getenv("THINKER_ATTENTION");
  if (!value) return std::nullopt;
  const std::string name = value;
  if (name != "own" && name != "cudnn") fail("THINKER_ATTENTION=", name, ": is neither own nor cudnn");
  return name == "own" ? Choice::ours : Choice::cudnn;
}

bool FusedAttention::takes(const AttentionShape& s, DType t) {
  // Shorter sequences come in too many numbers: each takes a plan and a measurement, to save microseconds.
  constexpr int64_t kWorthAPlan = 512;
  // cuDNN's heads are whole vectors, and places are 32-bit.
  return t == DType::BF16 && s.longest_sequence >= kWorthAPlan && s.key_rows == s.n && s.head_dim % 8 == 0 &&
         s.head_dim <= 128 && s.n * s.heads * s.head_dim <= INT32_MAX;
}

int64_t FusedAttention::places_bytes(const AttentionShape& s) {
  return 4 * places_step(s) * static_cast<int64_t>(sizeof(int32_t));
}

PackedPlaces FusedAttention::fill_places(void* memory, const Segment* segments, const AttentionShape& s) {
  auto* next = static_cast<int32_t*>(memory);
  const int64_t step = places_step(s);
  const PackedPlaces places{next, next + step, next + 2 * step, next + 3 * step};
  CUDA_CHECK(launch(stream_, 1, places_kernel, places, segments, s.segments, s.heads, s.kv_heads, s.head_dim));
  return places;
}

float FusedAttention::milliseconds(const std::function<void()>& work) {
  const CudaEvent begin, end;
  work();  // loads kernels
  CUDA_CHECK(cudaEventRecord(begin.get(), stream_));
  for (int i = 0; i < 3; ++i) work();
  CUDA_CHECK(cudaEventRecord(end.get(), stream_));
  CUDA_CHECK(cudaEventSynchronize(end.get()));
  float time = 0;
  CUDA_CHECK(cudaEventElapsedTime(&time, begin.get(), end.get()));
  return time;
}

void FusedAttention::run(std::map<PackedShape, Choice>& choices, const PackedShape& s,
                         const std::function<void()>& ours, const std::function<std::string()>& fused) {
  auto choice = choices.find(s);
  if (choice == choices.end()) {
    choice = choices.emplace(s, forced_.value_or(Choice::ours)).first;
    if (!forced_) {
      const std::string why_not = fused();
      if (!why_not.empty())
        tell(why_not, s);
      else if (milliseconds([&] { fused(); }) < milliseconds(ours))
        choice->second = Choice::cudnn;
    }
  }
  if (choice->second == Choice::cudnn) {
    const std::string why_not = fused();
    if (why_not.empty()) return;
    if (forced_) fail("THINKER_ATTENTION=cudnn: ", why_not);
    tell(why_not, s);
    choice->second = Choice::ours;  // there is no memory for cuDNN any more
  }
  ours();
}

void FusedAttention::tell(const std::string& why_not, const PackedShape& s) {
  if (!told_)
    std::fprintf(stderr, "cuDNN does not compute attention of %lld sequences of up to %lld tokens, our own does: %s\n",
                 static_cast<long long>(s.sequences), static_cast<long long>(s.longest), why_not.c_str());
  told_ = true;
}

void FusedAttention::forward(const std::function<void()>& ours, void* places, void* out, void* lse, const void* q,
                             const void* k, const void* v, const Segment* segments, const AttentionShape& s) {
  const PackedShape shape = packed_shape(s);
  run(forward_, shape, ours,
      [&] { return cudnn_->forward(out, lse, q, k, v, fill_places(places, segments, s), shape); });
}

void FusedAttention::backward(const std::function<void()>& ours, void* places, void* dq, void* dk, void* dv,
                              const void* dout, const void* out, const void* lse, const void* q, const void* k,
                              const void* v, const Segment* segments, const AttentionShape& s) {
  const PackedShape shape = packed_shape(s);
  run(backward_, shape, ours,
      [&] { return cudnn_->backward(dq, dk, dv, dout, out, lse, q, k, v, fill_places(places, segments, s), shape); });
}

}  // namespace thinker
