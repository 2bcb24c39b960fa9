// The threads of a block, on one thread of the CPU: each runs until it waits for others.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <type_traits>

namespace emulation {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;

/// Runs `body` as each thread of a block. They take turns in an order that is drawn anew for each block, so that what
/// needs a barrier and has none gives wrong results. Throws std::runtime_error where they wait for each other forever,
/// or a warp's lanes do different things together.
void run_block(unsigned block, int threads, const std::function<void()>& body);

/// Waits for all threads of the block that have not ended. Whether `mine` is true for any of them.
bool meet_block(const char* what, bool mine);

constexpr size_t kMostBytes = 32;  // of what a lane shows the others

/// Waits for all lanes of the warp; what they showed then, until the warp meets for the next time but one.
const std::byte* meet_warp(const char* what, const void* mine, size_t bytes);

/// What all lanes of the warp have for `mine`. Lane l's is at [l].
template <class T>
struct Shown {
  const std::byte* slots;
  T operator[](int lane) const {
    T x;
    std::memcpy(&x, slots + static_cast<size_t>(lane) * kMostBytes, sizeof x);
    return x;
  }
};
template <class T>
Shown<T> show(const char* what, const T& mine) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kMostBytes);
  return {meet_warp(what, &mine, sizeof mine)};
}

// Copies of 16 bytes into shared memory that a thread has started (cuda_pipeline.h): done when it waits for them.
void start_copy(void* to, const void* from, size_t bytes);
void commit_copies();
void wait_for_copies(size_t groups_that_may_go_on);

}  // namespace emulation
