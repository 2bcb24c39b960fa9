#include "nn/weight_file.h"

#include <map>

#include "tensor/safetensors.h"

namespace thinker {

void place_in_one_piece(Device& device, const std::vector<std::pair<Tensor, DType>>& weights) {
  const auto whole = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  int64_t total = 0;
  for (const auto& [w, t] : weights) total += whole(bytes_of(t, w.numel()));
  const Tensor memory = Tensor::empty(device, {total / size_of(DType::I32)}, DType::I32, "weights");
  int64_t offset = 0;
  for (const auto& [w, t] : weights) {
    w.place_in(memory, offset, t);
    offset += whole(w.bytes());
  }
}

void assign(const Tensor& weight, const std::vector<float>& values) {
  Device& device = weight.device();
  if (weight.dtype() == DType::F32) {
    device.backend().copy_from_host(weight.raw(), values.data(), weight.bytes());
    return;
  }
  const Tensor source = Tensor::from<float>(device, weight.shape(), values);
  device.backend().convert(weight.raw(), source.raw(), weight.numel(), weight.dtype(), DType::F32);
  device.backend().synchronize();
}

void write_weights(const std::string& path, const NamedWeights& weights, StoredAs stored_as,
                   const std::function<Tensor(const Tensor&)>& value_of) {
  const DType stored = stored_as == StoredAs::f32 ? DType::F32 : DType::BF16;
  std::map<std::string, Tensor> by_name(weights.begin(), weights.end());
  std::vector<TensorHeader> headers;
  for (const auto& [name, w] : weights)
    headers.push_back({name, stored_as == StoredAs::f32 ? "F32" : "BF16", w.shape()});
  std::vector<std::byte> host;
  const auto data_of = [&](const TensorHeader& h) {
    const Tensor w = value_of(by_name.at(h.name));
    Backend& backend = w.device().backend();
    const Tensor converted =
        w.dtype() == stored ? w : Tensor::empty(w.device(), w.shape(), stored, "weights to be written");
    if (w.dtype() != stored) backend.convert(converted.raw(), w.raw(), w.numel(), stored, w.dtype());
    host.resize(converted.bytes());
    backend.copy_to_host(host.data(), converted.raw(), converted.bytes());
    return std::span<const std::byte>(host);
  };
  write_safetensors(path, headers, data_of);
}

}  // namespace thinker
