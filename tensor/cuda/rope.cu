// Rotary position embedding, in place: the pair (x_j, x_{j+D/2}) of a head turns by position * inverse_frequency_j.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One thread a pair of x (N, H, D).
template <class T>
__global__ void rope_kernel(T* x, const int32_t* position, const Acc<T>* inverse_frequency, int64_t n, int64_t h,
                            int64_t half, int direction) {
  using A = Acc<T>;
  const int64_t i = global_thread();
  if (i >= n * h * half) return;
  const int64_t head = i / half, j = i % half;  // head counts through all rows: row = head / h
  const A angle = static_cast<A>(position[head / h]) * inverse_frequency[j];
  const A cosine = cos(angle), sine = static_cast<A>(direction) * sin(angle);
  T* low = x + head * 2 * half + j;
  T* high = low + half;
  const A a = load(low), b = load(high);
  store(low, a * cosine - b * sine);
  store(high, b * cosine + a * sine);
}

}  // namespace

void CudaBackend::rope(void* x, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t h, int64_t d,
                       int direction, DType t) {
  for_dtype("rope", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * h * (d / 2)), rope_kernel<T>, x, position, inverse_frequency, n, h,
                      d / 2, direction));
  });
}

}  // namespace thinker
