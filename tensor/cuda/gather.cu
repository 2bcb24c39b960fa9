// Rows taken and put by index: y[i] = x[index[i]]; backward adds dy[i] into row index[i].
// Indices may repeat, and floating-point atomics would add in any order. So in backward the first place in the index
// that names a row has blocks of its own for that row, which add what all places that name it give, from the first to
// the last.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void gather_forward_kernel(T* y, const T* x, const int32_t* index, int64_t n, int64_t c) {
  const int64_t i = global_thread();
  if (i < n * c) y[i] = x[index[i / c] * c + i % c];
}

template <class T>
__global__ void append_kernel(T* keys, T* values, const T* k, const T* v, const int32_t* index, int64_t n, int64_t c) {
  const int64_t i = global_thread();
  if (i >= n * c) return;
  const int64_t to = index[i / c] * c + i % c;
  keys[to] = k[i];
  values[to] = v[i];
}

/// One block for kThreads columns of the row of dx (rows, C) that one place in the index names. `tiles` such blocks
/// make a row.
template <class D, class T>
__global__ void gather_backward_kernel(D* dx, const T* dy, const int32_t* index, int64_t n, int64_t c, int64_t tiles) {
  const int64_t place = blockIdx.x / tiles;
  const int64_t column = blockIdx.x % tiles * kThreads + threadIdx.x;
  const int64_t row = index[place];
  int named_before = 0;
  for (int64_t i = threadIdx.x; i < place; i += kThreads) named_before |= index[i] == row;
  if (__syncthreads_or(named_before)) return;
  Acc<T> sum = 0;
  for (int64_t begin = place; begin < n; begin += kThreads) {
    // Most stretches of the index do not name this row: one look by all threads together skips them.
    const int64_t mine = begin + threadIdx.x;
    if (!__syncthreads_or(mine < n && index[mine] == row) || column >= c) continue;
    for (int64_t i = begin; i < begin + kThreads && i < n; ++i)
      if (index[i] == row) sum += load(dy + i * c + column);
  }
  if (column < c) store(dx + row * c + column, static_cast<Acc<D>>(sum), Write::add);
}

}  // namespace

void CudaBackend::gather_forward(void* y, const void* x, const int32_t* index, int64_t n, int64_t c, DType t) {
  for_dtype("gather", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * c), gather_forward_kernel<T>, y, x, index, n, c));
  });
}

void CudaBackend::append_to_cache(void* keys, void* values, const void* k, const void* v, const int32_t* index,
                                  int64_t n, int64_t c, DType t) {
  for_dtype("append_to_cache", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * c), append_kernel<T>, keys, values, k, v, index, n, c));
  });
}

void CudaBackend::gather_backward(void* dx, const void* dy, const int32_t* index, int64_t n, int64_t rows, int64_t c,
                                  DType dx_t, DType t, Write write) {
  ENSURE(dx_t == t || dx_t == accumulator_of(t), "[gather] a gradient of ", name(dx_t), " for ", name(t));
  const int64_t tiles = blocks_for(c);
  if (write == Write::set) fill_zero(dx, rows * c * size_of(dx_t));
  for_dtype("gather", t, [&]<class T>(Type<T>) {
    if (dx_t == t)
      CUDA_CHECK(launch(stream(), n * tiles, gather_backward_kernel<T, T>, dx, dy, index, n, c, tiles));
    else
      CUDA_CHECK(launch(stream(), n * tiles, gather_backward_kernel<Acc<T>, T>, dx, dy, index, n, c, tiles));
  });
}

}  // namespace thinker
