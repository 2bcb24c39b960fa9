// Multiplication by a number.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void scale_kernel(T* y, const T* x, Acc<T> factor, int64_t n, Write write) {
  const int64_t i = global_thread();
  if (i < n) store(y + i, factor * load(x + i), write);
}

}  // namespace

void CudaBackend::scale(void* y, const void* x, double factor, int64_t n, DType t, Write write) {
  for_dtype("scale", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n), scale_kernel<T>, y, x, factor, n, write));
  });
}

}  // namespace thinker
