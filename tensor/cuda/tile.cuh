// Tiles of attention: blocks of rows in shared memory, and products of a warp's 16 rows with them. bf16 goes through
// tensor cores, fp32 through plain multiplications; both leave their results in the same places, so that the kernels
// are written once.
#pragma once

#include <cuda_pipeline.h>

#include "tensor/cuda/kernel.cuh"
#include "tensor/cuda/tensor_core.cuh"

namespace thinker {

/// Threads of a block that works on tiles: four warps.
constexpr int kTileThreads = 128;
constexpr int kTileWarps = kTileThreads / kWarp;
/// Rows that a warp multiplies at a time.
constexpr int kWarpRows = 16;
constexpr unsigned kAllLanes = 0xffffffffu;

/// Numbers that one copy of 16 bytes moves.
template <class T>
constexpr int kVector = 16 / sizeof(T);

/// A tile's rows of D numbers lie this far apart in shared memory: 16 bytes more than they need puts eight rows that
/// are read together into different banks.
template <class T, int D>
constexpr int kTileStride = D + kVector<T>;

/// A (16, N) matrix of fp32 that the lanes of a warp hold together. x[j][2h + e] is row lane / 4 + 8h, column
/// 8j + 2 (lane % 4) + e.
template <int N>
struct Fragment {
  float x[N / 8][4];

  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] = 0;
    }
  }
};

__device__ inline int lane() {
  return threadIdx.x % kWarp;
}
/// The row of a fragment, for h = 0 or 1, and the column for j and e, that this lane holds.
__device__ inline int fragment_row(int h) {
  return lane() / 4 + 8 * h;
}
__device__ inline int fragment_column(int j, int e) {
  return 8 * j + 2 * (lane() % 4) + e;
}

/// c (16, N) += a (16, D) . b (N, D)^T, both in shared memory.
template <int D, int N>
__device__ void multiply_transposed(Fragment<N>& c, const bf16* a, const bf16* b) {
  constexpr int kStride = kTileStride<bf16, D>;
  const int l = lane();
  a += l % 16 * kStride + l / 16 * 8;
  b += (l / 16 * 8 + l % 8) * kStride + l / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t left[4];
    load_matrices(left, a + k);
#pragma unroll
    for (int j = 0; j < N / 8; j += 2) {
      uint32_t right[4];
      load_matrices(right, b + 8 * j * kStride + k);
      multiply_add(c.x[j], left, right[0], right[1]);
      multiply_add(c.x[j + 1], left, right[2], right[3]);
    }
  }
}

template <int D, int N>
__device__ void multiply_transposed(Fragment<N>& c, const float* a, const float* b) {
  constexpr int kStride = kTileStride<float, D>;
  a += fragment_row(0) * kStride;
  b += fragment_column(0, 0) * kStride;
#pragma unroll 2
  for (int k = 0; k < D; k += 4) {
    float4 left[2];
    for (int h = 0; h < 2; ++h) left[h] = *reinterpret_cast<const float4*>(a + 8 * h * kStride + k);
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 right = *reinterpret_cast<const float4*>(b + (8 * j + i % 2) * kStride + k);
        const float4& x = left[i / 2];
        c.x[j][i] += x.x * right.x + x.y * right.y + x.z * right.z + x.w * right.w;
      }
    }
  }
}

/// c (16, D) += a (16, K) . b (K, D), b in shared memory; a is rounded to b's type.
template <int D, int K>
__device__ void multiply(Fragment<D>& c, const Fragment<K>& a, const bf16* b) {
  constexpr int kStride = kTileStride<bf16, D>;
  const int l = lane();
  b += l % 16 * kStride + l / 16 * 8;
#pragma unroll
  for (int k = 0; k < K / 8; k += 2) {
    // Columns 8k to 8k+15 of a result are held as the left factor of a product is.
    const uint32_t left[4] = {pack_bf16(a.x[k][0], a.x[k][1]), pack_bf16(a.x[k][2], a.x[k][3]),
                              pack_bf16(a.x[k + 1][0], a.x[k + 1][1]), pack_bf16(a.x[k + 1][2], a.x[k + 1][3])};
#pragma unroll
    for (int j = 0; j < D / 8; j += 2) {
      uint32_t right[4];
      load_matrices_transposed(right, b + 8 * k * kStride + 8 * j);
      multiply_add(c.x[j], left, right[0], right[1]);
      multiply_add(c.x[j + 1], left, right[2], right[3]);
    }
  }
}

template <int D, int K>
__device__ void multiply(Fragment<D>& c, const Fragment<K>& a, const float* b) {
  constexpr int kStride = kTileStride<float, D>;
  b += fragment_column(0, 0);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    // Four lanes share a row of a: the one that holds column k shows it to the others.
    const int holder = lane() / 4 * 4 + k % 8 / 2;
    const float upper = __shfl_sync(kAllLanes, a.x[k / 8][k % 2], holder);
    const float lower = __shfl_sync(kAllLanes, a.x[k / 8][2 + k % 2], holder);
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      const float2 right = *reinterpret_cast<const float2*>(b + k * kStride + 8 * j);
      c.x[j][0] += upper * right.x;
      c.x[j][1] += upper * right.y;
      c.x[j][2] += lower * right.x;
      c.x[j][3] += lower * right.y;
    }
  }
}

/// Starts to copy `rows` rows of d <= D numbers into a tile and fills up with zeros. row_at(r) gives the address of row
/// r, or null for a row of zeros. With `vectors` every address is a multiple of 16 bytes and so is a row's length. The
/// caller commits, waits, and meets the other threads at a barrier before the tile is read.
template <int D, class T, class RowAt>
__device__ void load_tile(T* tile, int rows, int d, bool vectors, const RowAt& row_at) {
  constexpr int kPerRow = D / kVector<T>;
  for (int i = threadIdx.x; i < rows * kPerRow; i += kTileThreads) {
    const int r = i / kPerRow, column = i % kPerRow * kVector<T>;
    const T* from = row_at(r);
    T* to = tile + r * kTileStride<T, D> + column;
    if (from && vectors && column < d) {
      __pipeline_memcpy_async(to, from + column, 16);
    } else {
      for (int c = 0; c < kVector<T>; ++c) to[c] = from && column + c < d ? from[column + c] : T{};
    }
  }
}

/// Rows of a tile that its threads copy at once, 16 bytes each; 0 where that is no whole number.
template <class T, int D>
constexpr int kRowStep = kTileThreads % (D / kVector<T>) == 0 ? kTileThreads / (D / kVector<T>) : 0;

/// load_tile of kRows rows that all exist, of exactly D numbers in whole vectors. A thread's rows are kRowStep apart,
/// in memory `stride` numbers: it asks for one address only, since they cost more instructions than the copies.
template <int D, int kRows, class T, class RowAt>
__device__ void load_full_tile(T* tile, int64_t stride, const RowAt& row_at) {
  static_assert(kRows % kRowStep<T, D> == 0);
  constexpr int kPerRow = D / kVector<T>;
  const int r = static_cast<int>(threadIdx.x) / kPerRow, column = static_cast<int>(threadIdx.x) % kPerRow * kVector<T>;
  const T* from = row_at(r) + column;
  T* to = tile + r * kTileStride<T, D> + column;
#pragma unroll
  for (int i = 0; i < kRows / kRowStep<T, D>; ++i, from += stride)
    __pipeline_memcpy_async(to + i * kRowStep<T, D> * kTileStride<T, D>, from, 16);
}

/// Writes two neighbours; their address is a multiple of their size together.
__device__ inline void store_pair(float* to, float first, float second) {
  *reinterpret_cast<float2*>(to) = {first, second};
}
__device__ inline void store_pair(bf16* to, float first, float second) {
  *reinterpret_cast<uint32_t*>(to) = pack_bf16(first, second);
}

/// Writes a fragment's rows of d <= D numbers, times factor[h]. row_at(h) gives the address of row fragment_row(h), or
/// null for a row that is not wanted.
template <int D, class RowAt>
__device__ void store_fragment(const Fragment<D>& a, const float (&factor)[2], int d, Write write,
                               const RowAt& row_at) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    auto* row = row_at(h);
    if (!row) continue;
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      const int column = fragment_column(j, 0);
      float first = a.x[j][2 * h] * factor[h], second = a.x[j][2 * h + 1] * factor[h];
      if (d % 2 == 0 && column < d) {
        if (write == Write::add) first += load(row + column), second += load(row + column + 1);
        store_pair(row + column, first, second);
      } else {
        if (column < d) store(row + column, first, write);
        if (column + 1 < d) store(row + column + 1, second, write);
      }
    }
  }
}

/// Starts a kernel of kTileThreads threads a block with so much dynamic shared memory. See launch() in kernel.cuh.
template <class... Parameters, class... Arguments>
cudaError_t launch_tiles(cudaStream_t stream, int64_t blocks, int64_t shared_bytes, void (*kernel)(Parameters...),
                         Arguments... arguments) {
  // What a kernel may have without asking is 48 KiB.
  const cudaError_t status =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes));
  if (status != cudaSuccess) return status;
  return launch(stream, {blocks, kTileThreads, shared_bytes}, kernel, arguments...);
}

}  // namespace thinker
