#include "tensor/dry_backend.h"

#include <algorithm>
#include <cstring>

namespace thinker {

void* DryBackend::allocate(int64_t bytes, const char*) {
  void* p = reinterpret_cast<void*>(next_);
  next_ += static_cast<uintptr_t>(bytes + 127) / 64 * 64;
  sizes_[p] = bytes;
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
  return p;
}

void DryBackend::free(void* p) noexcept {
  const auto it = sizes_.find(p);
  if (it == sizes_.end()) return;
  in_use_ -= it->second;
  sizes_.erase(it);
}

void DryBackend::copy_to_host(void* host_dst, const void*, int64_t bytes) {
  std::memset(host_dst, 0, static_cast<size_t>(bytes));
}

void DryBackend::sample(int32_t* host_ids, float* host_logprobs, const void*, const SampleRow*, const int32_t*, int64_t,
                        const SamplingOptions&, int64_t n, int64_t) {
  std::fill_n(host_ids, n, 0);
  std::fill_n(host_logprobs, n, 0.0f);
}

}  // namespace thinker
