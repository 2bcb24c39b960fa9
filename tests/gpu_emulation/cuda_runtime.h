// What nvcc adds to C++ for device code, as far as tensor/cuda/ uses it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/gpu_emulation/threads.h"

#define __global__
#define __device__
#define __shared__ thread_local  // one thread of the CPU works on a block
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

inline thread_local uint3 threadIdx{}, blockIdx{};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace emulation {
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body);

inline int lane() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
}  // namespace emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return emulation::launch(*config, reinterpret_cast<const void*>(kernel),
                           [kernel, values = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
                             std::apply(kernel, values);
                           });
}

inline void __syncthreads() {
  emulation::meet_block("__syncthreads", false);
}
inline int __syncthreads_or(int mine) {
  return emulation::meet_block("__syncthreads_or", mine != 0);
}

// ---- collectives of a warp; all lanes always take part -----------------------------------------------------------

template <class T>
T __shfl_sync(unsigned, T mine, int lane) {
  return emulation::show("__shfl_sync", mine)[lane % emulation::kWarp];
}
template <class T>
T __shfl_xor_sync(unsigned, T mine, int apart) {
  return emulation::show("__shfl_xor_sync", mine)[emulation::lane() ^ apart];
}
template <class T>
T __shfl_up_sync(unsigned, T mine, unsigned apart) {
  const auto all = emulation::show("__shfl_up_sync", mine);
  const int from = emulation::lane() - static_cast<int>(apart);
  return from < 0 ? mine : all[from];
}
inline unsigned __ballot_sync(unsigned, int mine) {
  const auto all = emulation::show("__ballot_sync", mine);
  unsigned bits = 0;
  for (int lane = 0; lane < emulation::kWarp; ++lane) bits |= static_cast<unsigned>(all[lane] != 0) << lane;
  return bits;
}

// ---- functions of one thread -------------------------------------------------------------------------------------

inline uint32_t atomicAdd(uint32_t* p, uint32_t x) {
  return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
using std::isfinite;
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline uint32_t __float_as_uint(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline float __uint_as_float(uint32_t x) {
  return std::bit_cast<float>(x);
}

// CUDA's take any two numbers.
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
