// Sums in place: the accumulation of gradients, and the bias of a linear layer.
#include "tensor/cuda/column_sums.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void accumulate_kernel(T* dst, const T* src, int64_t n, Write write) {
  const int64_t i = global_thread() * kPack<T>;
  if (i >= n) return;
  Pack<T> sum = write == Write::add ? load_pack(dst, i, n) : Pack<T>{};
  const Pack<T> x = load_pack(src, i, n);
  for (int j = 0; j < kPack<T>; ++j) store(&sum.x[j], load(&x.x[j]), write);
  store_pack(dst, i, n, sum);
}

template <class T>
__global__ void bias_forward_kernel(T* y, const T* bias, int64_t n, int64_t c) {
  const int64_t i = global_thread();
  if (i < n * c) store(y + i, load(bias + i % c), Write::add);
}

/// What one row adds to the gradient of the bias.
template <class T>
struct BiasGradient {
  const T* dy;
  int64_t c;
  __device__ Acc<T> operator()(int64_t row, int64_t column) const { return load(dy + row * c + column); }
};

}  // namespace

void CudaBackend::accumulate(void* dst, const void* src, int64_t n, DType t, Write write) {
  for_dtype("accumulate", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), pack_blocks<T>(n), accumulate_kernel<T>, dst, src, n, write));
  });
}

void CudaBackend::bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType t) {
  for_dtype("bias", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * c), bias_forward_kernel<T>, y, bias, n, c));
  });
}

void CudaBackend::bias_backward(void* dbias, const void* dy, int64_t n, int64_t c, DType t) {
  for_dtype("bias", t, [&]<class T>(Type<T>) {
    const BiasGradient<T> value{static_cast<const T*>(dy), c};
    add_column_sums<Acc<T>>(stream(), workspace_.get(), kWorkspaceBytes, dbias, n, c, value);
  });
}

}  // namespace thinker
