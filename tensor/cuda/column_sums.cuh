// Sums over the rows of an (N, C) array, column by column: gradients of biases and of norms' weights. Rows are summed
// in chunks of a fixed number, each by a block, and the chunks in order, so that many blocks work and the order of
// additions does not depend on the GPU.
#pragma once

#include "tensor/cuda/kernel.cuh"

namespace thinker {

constexpr int64_t kChunkRows = 256;

/// One block 32 columns of one chunk: each of its warps has every eighth row. value(row, column) is what is summed;
/// partial (chunks, C).
template <class A, class Value>
__global__ void chunk_sums_kernel(A* partial, int64_t n, int64_t c, Value value) {
  __shared__ A sums[kThreads];
  const int64_t tiles = (c + kWarp - 1) / kWarp;
  const int64_t chunk = blockIdx.x / tiles, column = blockIdx.x % tiles * kWarp + threadIdx.x % kWarp;
  const int64_t end = min(n, (chunk + 1) * kChunkRows);
  A sum = 0;
  if (column < c) {
    for (int64_t row = chunk * kChunkRows + threadIdx.x / kWarp; row < end; row += kThreads / kWarp)
      sum += value(row, column);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x >= kWarp || column >= c) return;
  for (int warp = 1; warp < kThreads / kWarp; ++warp) sum += sums[warp * kWarp + threadIdx.x];
  partial[chunk * c + column] = sum;
}

/// One thread a column: it adds the chunks in order.
template <class A>
__global__ void add_chunks_kernel(A* dst, const A* partial, int64_t chunks, int64_t c) {
  const int64_t column = global_thread();
  if (column >= c) return;
  A sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * c + column];
  dst[column] += sum;
}

/// dst (C) += sums over n rows of value(row, column). The workspace holds a row of C numbers for each chunk.
template <class A, class Value>
void add_column_sums(cudaStream_t stream, void* workspace, int64_t workspace_bytes, void* dst, int64_t n, int64_t c,
                     const Value& value) {
  const int64_t chunks = (n + kChunkRows - 1) / kChunkRows;
  ENSURE(chunks * c * static_cast<int64_t>(sizeof(A)) <= workspace_bytes, "column sums of ", n, " rows of ", c);
  CUDA_CHECK(launch(stream, (c + kWarp - 1) / kWarp * chunks, chunk_sums_kernel<A, Value>, workspace, n, c, value));
  CUDA_CHECK(launch(stream, blocks_for(c), add_chunks_kernel<A>, dst, static_cast<const void*>(workspace), chunks, c));
}

}  // namespace thinker
