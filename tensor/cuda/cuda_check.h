// CUDA_CHECK(call): throws Error when a CUDA runtime or cuBLASLt call did not succeed. The message names the call, its
// place in the source and CUDA's reason. Kernels may run asynchronously: what went wrong inside one is reported by a
// later call.
#pragma once

#include <cuda_runtime_api.h>

#include "tensor/check.h"

namespace thinker {

inline void check_cuda(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // forgets an error that the next call need not meet again
  fail("CUDA: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ") in ", call, " [", file, ":", line, "]");
}

}  // namespace thinker

/// The type of the call's result selects the overload: matmul.cpp adds the one for cuBLASLt.
#define CUDA_CHECK(...) ::thinker::check_cuda((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
