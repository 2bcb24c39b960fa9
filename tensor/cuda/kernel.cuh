// What every kernel file shares: element types in device code, choosing a kernel by dtype, launching it, and sums and
// maxima over a block of threads in a fixed order.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/cuda_check.h"

namespace thinker {

/// Threads of every block.
constexpr int kThreads = 256;
constexpr int kWarp = 32;

/// What elements of T are computed in, and the array type that backend.h calls acc.
template <class T>
using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;

// ---- element types in device code -----------------------------------------------------------------------------

__device__ inline float load(const float* p) {
  return *p;
}
__device__ inline double load(const double* p) {
  return *p;
}
__device__ inline float load(const bf16* p) {
  return __uint_as_float(static_cast<uint32_t>(p->bits) << 16);
}

__device__ inline void store(float* p, float x) {
  *p = x;
}
__device__ inline void store(double* p, double x) {
  *p = x;
}
/// Rounds to nearest, ties to even; NaN stays NaN: to_bf16 of tensor/dtype.h, for devices.
__device__ inline void store(bf16* p, float x) {
  const uint32_t u = __float_as_uint(x);
  const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
  p->bits = static_cast<uint16_t>(nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
template <class T>
__device__ void store(T* p, Acc<T> x, Write write) {
  store(p, write == Write::add ? load(p) + x : x);
}

/// What one thread of an element-wise kernel has: 16 bytes, so that memory is read and written in few instructions.
/// Beside an array of larger elements, as many of these as of those.
template <class T>
constexpr int kPack = 16 / sizeof(T);
template <class T, int N = kPack<T>>
struct alignas(N * sizeof(T)) Pack {
  T x[N] = {};
};

/// Elements i to i + N of an array of n; what lies past its end is 0, or not written.
template <class T, int N = kPack<T>>
__device__ Pack<T, N> load_pack(const T* p, int64_t i, int64_t n) {
  if (i + N <= n && reinterpret_cast<uintptr_t>(p + i) % sizeof(Pack<T, N>) == 0)
    return *reinterpret_cast<const Pack<T, N>*>(p + i);
  Pack<T, N> pack;
  for (int j = 0; j < N && i + j < n; ++j) pack.x[j] = p[i + j];
  return pack;
}
template <class T, int N>
__device__ void store_pack(T* p, int64_t i, int64_t n, const Pack<T, N>& pack) {
  if (i + N <= n && reinterpret_cast<uintptr_t>(p + i) % sizeof(Pack<T, N>) == 0) {
    *reinterpret_cast<Pack<T, N>*>(p + i) = pack;
    return;
  }
  for (int j = 0; j < N && i + j < n; ++j) p[i + j] = pack.x[j];
}

// ---- choosing and launching ------------------------------------------------------------------------------------

template <class T>
struct Type {};

/// Calls f with Type<float>, Type<double> or Type<bf16>. Throws Error that names the op for another dtype.
template <class F>
void for_dtype(const char* op, DType t, const F& f) {
  switch (t) {
    case DType::F32: return f(Type<float>{});
    case DType::F64: return f(Type<double>{});
    case DType::BF16: return f(Type<bf16>{});
    default: break;
  }
  fail("[", op, "] has no CUDA kernel for dtype ", name(t));
}

/// The same for arrays of an accumulator: F32 or F64.
template <class F>
void for_accumulator(const char* op, DType acc, const F& f) {
  if (acc == DType::F64) return f(Type<double>{});
  ENSURE(acc == DType::F32, "[", op, "] dtype ", name(acc), " is no accumulator");
  f(Type<float>{});
}

/// Blocks of kThreads threads that together have one thread for each of n elements.
inline int64_t blocks_for(int64_t n) {
  return (n + kThreads - 1) / kThreads;
}

/// The same with one thread for each pack.
template <class T>
int64_t pack_blocks(int64_t n) {
  return blocks_for((n + kPack<T> - 1) / kPack<T>);
}

/// Blocks of a launch, their threads, and the dynamic shared memory of each. A number alone means blocks of kThreads.
struct Grid {
  Grid(int64_t blocks, int threads = kThreads, int64_t shared_bytes = 0)
      : blocks(blocks), threads(threads), shared_bytes(shared_bytes) {}
  int64_t blocks;
  int threads;
  int64_t shared_bytes;
};

/// Starts a kernel and returns the launch's status, for CUDA_CHECK. No blocks, no launch: CUDA would refuse it.
/// Untyped pointers are passed on as the kernel's own pointer types.
template <class... Parameters, class... Arguments>
cudaError_t launch(cudaStream_t stream, const Grid& grid, void (*kernel)(Parameters...), Arguments... arguments) {
  if (grid.blocks == 0) return cudaSuccess;
  if (grid.blocks < 0 || grid.blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t config{};
  config.gridDim.x = static_cast<unsigned>(grid.blocks);
  config.blockDim.x = static_cast<unsigned>(grid.threads);
  config.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

/// The shared memory that a launch asks for (Grid), aligned for copies of 16 bytes.
__device__ inline char* dynamic_shared() {
  extern __shared__ __align__(16) char shared_memory[];
  return shared_memory;
}

/// This thread's number among all threads of the launch.
__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

// ---- reductions over a block of Threads: every thread calls, every thread receives the result --------------------

/// Over a warp only.
template <class A>
__device__ A warp_sum(A x) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

template <int Threads = kThreads, class A>
__device__ A block_sum(A x) {
  __shared__ A warps[Threads / kWarp];
  x = warp_sum(x);
  __syncthreads();  // nobody still reads the last call's numbers
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  A sum = 0;
  for (A w : warps) sum += w;
  return sum;
}

template <int Threads = kThreads, class A>
__device__ A block_max(A x) {
  __shared__ A warps[Threads / kWarp];
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x = fmax(x, __shfl_xor_sync(0xffffffffu, x, apart));
  __syncthreads();
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  A result = warps[0];
  for (A w : warps) result = fmax(result, w);
  return result;
}

}  // namespace thinker
