// Stands in for cuDNN in a build with CUDNN=0.
#include "tensor/cuda/cudnn_attention.h"

namespace thinker {

struct CudnnAttention::Graphs {};

CudnnAttention::CudnnAttention(std::unique_ptr<Graphs> graphs) : graphs_(std::move(graphs)) {}
CudnnAttention::~CudnnAttention() = default;

std::unique_ptr<CudnnAttention> CudnnAttention::open(cudaStream_t, std::string& why_not) {
  why_not.clear();
  return nullptr;
}

std::string CudnnAttention::version() const {
  return "";
}

std::string CudnnAttention::forward(void*, void*, const void*, const void*, const void*, const PackedPlaces&,
                                    const PackedShape&) {
  return "not built in";
}

std::string CudnnAttention::backward(void*, void*, void*, const void*, const void*, const void*, const void*,
                                     const void*, const void*, const PackedPlaces&, const PackedShape&) {
  return "not built in";
}

}  // namespace thinker
