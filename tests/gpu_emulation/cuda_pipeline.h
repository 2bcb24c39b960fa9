// Copies into shared memory that go on while a thread works.
#pragma once

#include "tests/gpu_emulation/threads.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  emulation::start_copy(to, from, bytes);
}
inline void __pipeline_commit() {
  emulation::commit_copies();
}
inline void __pipeline_wait_prior(size_t groups) {
  emulation::wait_for_copies(groups);
}
