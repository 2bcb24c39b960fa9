// A bump allocator for activations. Memory is taken in order and given back by releasing to an earlier mark; nothing is
// freed one by one. A slot remembers which allocation it was, so that a handle kept past a release is found out.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/backend.h"

namespace thinker {

class Arena {
 public:
  /// Identifies one allocation: alive() tells whether it has been released since.
  struct Slot {
    int64_t index = -1;
    uint64_t stamp = 0;
  };
  struct Mark {
    int64_t slots = 0;
    int64_t chunk = 0;
    int64_t offset = 0;
  };

  explicit Arena(Backend& backend) : backend_(backend) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// 64-byte aligned memory until the release of an earlier mark. Throws Error when memory is short.
  void* allocate(int64_t bytes, Slot& slot);
  Mark mark() const { return {static_cast<int64_t>(stamps_.size()), chunk_, offset_}; }
  /// Gives back everything allocated since the mark. Chunks stay for the next use.
  void release(const Mark& mark);
  bool alive(const Slot& slot) const {
    return slot.index < static_cast<int64_t>(stamps_.size()) && stamps_[slot.index] == slot.stamp;
  }
  /// The most bytes ever in use at once.
  int64_t high_water() const { return high_water_; }

 private:
  struct Chunk {
    char* memory;
    int64_t size;
    int64_t before;  // bytes in the chunks before this one
  };
  Backend& backend_;
  std::vector<Chunk> chunks_;
  std::vector<uint64_t> stamps_;  // one per live allocation
  uint64_t next_stamp_ = 1;
  int64_t chunk_ = 0;   // the chunk that is being filled
  int64_t offset_ = 0;  // its first free byte
  int64_t high_water_ = 0;
};

}  // namespace thinker
