#include "nn/packed_weights.h"

namespace thinker {

PackedWeights::PackedWeights(const Transformer& model) {
  Backend& backend = model.device().backend();
  const bool table_is_head = model.config().tied_head;
  std::vector<Tensor> matrices;
  int64_t bytes = 0;
  model.visit([&](const std::string& name, const Tensor& w) {
    if (w.shape().rank() != 2 || w.dtype() != model.dtype() || (name == "model.embed_tokens.weight" && !table_is_head))
      return;
    const int64_t size = backend.packed_bytes(w.dim(0), w.dim(1), w.dtype());
    if (size == 0) return;
    matrices.push_back(w);
    offsets_[w.raw()] = bytes;
    bytes += (size + 63) / 64 * 64;
  });
  if (matrices.empty()) return;
  memory_ = Tensor::empty(model.device(), {bytes / size_of(DType::F32)}, DType::F32, "packed weights");
  for (const Tensor& w : matrices)
    backend.pack(static_cast<char*>(memory_.raw()) + offsets_.at(w.raw()), w.raw(), w.dim(0), w.dim(1), w.dtype());
}

const void* PackedWeights::find(const Tensor& weight) const {
  const auto at = offsets_.find(weight.raw());
  return at == offsets_.end() ? nullptr : static_cast<const char*>(memory_.raw()) + at->second;
}

}  // namespace thinker
