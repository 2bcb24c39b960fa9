#include "tensor/device.h"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace thinker {

BufferPool::~BufferPool() {
  for (auto& [p, size] : sizes_) backend_.free(p);
}

void* BufferPool::take(int64_t bytes) {
  // Sizes are powers of two: those of a longer micro-batch find the buffers of the one before. The smallest that is
  // large enough, but not one so large that most of it would lie idle.
  bytes = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 1))));
  auto it = free_.lower_bound(bytes);
  if (it != free_.end() && it->first <= 2 * bytes) {
    void* p = it->second;
    free_.erase(it);
    return p;
  }
  void* p = backend_.allocate(bytes, "gradients of activations");
  sizes_[p] = bytes;
  total_ += bytes;
  return p;
}

void BufferPool::give_back(void* p) {
  free_.emplace(sizes_.at(p), p);
}

std::unique_ptr<Device> open_device(const std::string& name) {
  NoCuda why_not;
  if (name == "cpu") return std::make_unique<Device>(make_cpu_backend());
  if (name != "cuda" && name != "auto") fail("unknown device \"", name, "\": use cpu, cuda or auto");
  if (auto cuda = make_cuda_backend(why_not)) return std::make_unique<Device>(std::move(cuda));
  if (name == "cuda") fail("device cuda: ", why_not.reason, "; use --device cpu");
  if (why_not.has_gpu) std::fprintf(stderr, "device auto: %s; the CPU computes\n", why_not.reason.c_str());
  return std::make_unique<Device>(make_cpu_backend());
}

}  // namespace thinker
