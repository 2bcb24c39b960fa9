#include "tensor/arena.h"

#include <algorithm>
#include <bit>

namespace thinker {

namespace {
constexpr int64_t kAlignment = 64;
constexpr int64_t kChunk = int64_t{64} << 20;  // pages that are never touched cost nothing on the CPU
}  // namespace

Arena::~Arena() {
  for (Chunk& c : chunks_) backend_.free(c.memory);
}

void* Arena::allocate(int64_t bytes, Slot& slot) {
  ENSURE(bytes >= 0, "arena: negative size ", bytes);
  const int64_t size = std::max<int64_t>((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  while (chunk_ < static_cast<int64_t>(chunks_.size()) && offset_ + size > chunks_[chunk_].size) {
    ++chunk_;
    offset_ = 0;
  }
  if (chunk_ == static_cast<int64_t>(chunks_.size())) {
    // Large arrays get chunks with room for slightly larger ones: else each longer micro-batch would take all anew.
    const int64_t chunk_size = std::max(kChunk, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size))));
    const int64_t before = chunks_.empty() ? 0 : chunks_.back().before + chunks_.back().size;
    chunks_.push_back({static_cast<char*>(backend_.allocate(chunk_size, "activations")), chunk_size, before});
  }
  void* p = chunks_[chunk_].memory + offset_;
  offset_ += size;
  high_water_ = std::max(high_water_, chunks_[chunk_].before + offset_);
  slot = {static_cast<int64_t>(stamps_.size()), next_stamp_};
  stamps_.push_back(next_stamp_++);
  return p;
}

void Arena::release(const Mark& mark) {
  ENSURE(mark.slots <= static_cast<int64_t>(stamps_.size()), "arena: released out of order");
  stamps_.resize(mark.slots);
  chunk_ = mark.chunk;
  offset_ = mark.offset;
}

}  // namespace thinker
