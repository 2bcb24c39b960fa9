// Rotary position embedding, in place: the pair (x_j, x_{j+D/2}) of a head turns by position * inverse_frequency_j.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One thread a pack of each half of a head of x (N, H, D).
template <class T>
__global__ void rope_kernel(T* x, const int32_t* position, const Acc<T>* inverse_frequency, int64_t n, int64_t h,
                            int64_t half, int direction) {
  using A = Acc<T>;
  constexpr int kN = kPack<T>;
  const int64_t packs = (half + kN - 1) / kN, i = global_thread();
  if (i >= n * h * packs) return;
  const int64_t head = i / packs, j = i % packs * kN;  // head counts through all rows: row = head / h
  T *low = x + head * 2 * half, *high = low + half;
  const auto place = static_cast<A>(position[head / h]);
  const Pack<A, kN> frequency = load_pack<A, kN>(inverse_frequency, j, half);
  Pack<T> lower = load_pack(low, j, half), upper = load_pack(high, j, half);
  for (int k = 0; k < kN; ++k) {
    const A angle = place * frequency.x[k];
    const A cosine = cos(angle), sine = static_cast<A>(direction) * sin(angle);
    const A a = load(&lower.x[k]), b = load(&upper.x[k]);
    store(&lower.x[k], a * cosine - b * sine);
    store(&upper.x[k], b * cosine + a * sine);
  }
  store_pack(low, j, half, lower);
  store_pack(high, j, half, upper);
}

}  // namespace

void CudaBackend::rope(void* x, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t h, int64_t d,
                       int direction, DType t) {
  for_dtype("rope", t, [&]<class T>(Type<T>) {
    const int64_t half = d / 2, packs = (half + kPack<T> - 1) / kPack<T>;
    CUDA_CHECK(launch(stream(), blocks_for(n * h * packs), rope_kernel<T>, x, position, inverse_frequency, n, h, half,
                      direction));
  });
}

}  // namespace thinker
