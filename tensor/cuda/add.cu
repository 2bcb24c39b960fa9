// Element-wise sums: the residual connection, the accumulation of gradients, and the bias of a linear layer.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void add_kernel(T* y, const T* a, const T* b, int64_t n) {
  const int64_t i = global_thread();
  if (i < n) store(y + i, load(a + i) + load(b + i));
}

template <class T>
__global__ void accumulate_kernel(T* dst, const T* src, int64_t n, Write write) {
  const int64_t i = global_thread();
  if (i < n) store(dst + i, load(src + i), write);
}

template <class T>
__global__ void bias_forward_kernel(T* y, const T* bias, int64_t n, int64_t c) {
  const int64_t i = global_thread();
  if (i < n * c) store(y + i, load(bias + i % c), Write::add);
}

/// One thread a column: it adds the rows in order.
template <class T>
__global__ void bias_backward_kernel(Acc<T>* dbias, const T* dy, int64_t n, int64_t c) {
  const int64_t column = global_thread();
  if (column >= c) return;
  Acc<T> sum = 0;
  for (int64_t row = 0; row < n; ++row) sum += load(dy + row * c + column);
  dbias[column] += sum;
}

}  // namespace

void CudaBackend::add(void* y, const void* a, const void* b, int64_t n, DType t) {
  for_dtype("add", t,
            [&]<class T>(Type<T>) { CUDA_CHECK(launch(stream(), blocks_for(n), add_kernel<T>, y, a, b, n)); });
}

void CudaBackend::accumulate(void* dst, const void* src, int64_t n, DType t, Write write) {
  for_dtype("accumulate", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n), accumulate_kernel<T>, dst, src, n, write));
  });
}

void CudaBackend::bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType t) {
  for_dtype("bias", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * c), bias_forward_kernel<T>, y, bias, n, c));
  });
}

void CudaBackend::bias_backward(void* dbias, const void* dy, int64_t n, int64_t c, DType t) {
  for_dtype("bias", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(c), bias_backward_kernel<T>, dbias, dy, n, c));
  });
}

}  // namespace thinker
