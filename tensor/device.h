// A device: its backend and the memory of activations and of their gradients. There are no global handles or streams;
// whoever computes holds a Device.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tensor/arena.h"
#include "tensor/backend.h"

namespace thinker {

/// Buffers of gradients, kept by size and used again: backward holds only a few at a time, while the activations that
/// it reads stay in the arena below.
class BufferPool {
 public:
  explicit BufferPool(Backend& backend) : backend_(backend) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A buffer of at least `bytes` bytes, rounded up to a power of two, with undefined contents: one that was given back
  /// (of at most twice that size), or a new one. Throws what the backend's allocate throws when memory runs out.
  void* take(int64_t bytes);
  /// Makes a taken buffer free for the next take. Its memory goes back to the device with the pool only.
  void give_back(void* p);
  /// Bytes of all buffers, taken or free: buffers are never freed, so it only grows.
  int64_t high_water() const { return total_; }

 private:
  Backend& backend_;
  std::multimap<int64_t, void*> free_;  // size -> buffer
  std::map<void*, int64_t> sizes_;      // every buffer's real size
  int64_t total_ = 0;
};

class Device {
 public:
  explicit Device(std::unique_ptr<Backend> backend)
      : backend_(std::move(backend)), arena_(*backend_), gradients_(*backend_) {}

  Backend& backend() { return *backend_; }
  Arena& arena() { return arena_; }
  BufferPool& gradients() { return gradients_; }

 private:
  std::unique_ptr<Backend> backend_;
  Arena arena_;
  BufferPool gradients_;
};

/// Opens "cpu", "cuda" or "auto" (the GPU where there is one). Throws Error when cuda is asked for and missing.
/// With auto the CPU is taken where there is no GPU, and, with a line on stderr, where there is one that cannot be
/// used.
std::unique_ptr<Device> open_device(const std::string& name);

}  // namespace thinker
