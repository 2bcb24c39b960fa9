// Rotary position embedding, in place: the pair (x_j, x_{j+D/2}) of a head turns by position * inverse_frequency_j.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One thread a pair of angles (N, D).
template <class A>
__global__ void rope_angles_kernel(A* angles, const int32_t* position, const A* inverse_frequency, int64_t n,
                                   int64_t half) {
  const int64_t i = global_thread();
  if (i >= n * half) return;
  const int64_t row = i / half, j = i % half;
  const A angle = static_cast<A>(position[row]) * inverse_frequency[j];
  angles[2 * row * half + j] = cos(angle);
  angles[(2 * row + 1) * half + j] = sin(angle);
}

/// One thread a pack of each half of a head of q (N, Hq, D) or k (N, Hk, D).
template <class T>
__global__ void rope_kernel(T* q, T* k, const Acc<T>* angles, int64_t n, int64_t hq, int64_t hk, int64_t half,
                            int direction) {
  using A = Acc<T>;
  constexpr int kN = kPack<T>;
  const int64_t packs = (half + kN - 1) / kN, i = global_thread();
  if (i >= n * (hq + hk) * packs) return;
  const int64_t row = i / packs / (hq + hk), head = i / packs % (hq + hk), j = i % packs * kN;
  T* low = head < hq ? q + (row * hq + head) * 2 * half : k + (row * hk + head - hq) * 2 * half;
  T* high = low + half;
  const A* of_row = angles + 2 * row * half;
  const Pack<A, kN> cosine = load_pack<A, kN>(of_row, j, half), sine = load_pack<A, kN>(of_row + half, j, half);
  Pack<T> lower = load_pack(low, j, half), upper = load_pack(high, j, half);
  for (int m = 0; m < kN; ++m) {
    const A a = load(&lower.x[m]), b = load(&upper.x[m]), turn = static_cast<A>(direction) * sine.x[m];
    store(&lower.x[m], a * cosine.x[m] - b * turn);
    store(&upper.x[m], b * cosine.x[m] + a * turn);
  }
  store_pack(low, j, half, lower);
  store_pack(high, j, half, upper);
}

}  // namespace

void CudaBackend::rope_angles(void* angles, const int32_t* position, const void* inverse_frequency, int64_t n,
                              int64_t d, DType acc) {
  for_accumulator("rope", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), blocks_for(n * (d / 2)), rope_angles_kernel<A>, angles, position, inverse_frequency, n,
                      d / 2));
  });
}

void CudaBackend::rope(void* q, void* k, const void* angles, int64_t n, int64_t hq, int64_t hk, int64_t d,
                       int direction, DType t) {
  for_dtype("rope", t, [&]<class T>(Type<T>) {
    const int64_t half = d / 2, packs = (half + kPack<T> - 1) / kPack<T>;
    CUDA_CHECK(
        launch(stream(), blocks_for(n * (hq + hk) * packs), rope_kernel<T>, q, k, angles, n, hq, hk, half, direction));
  });
}

}  // namespace thinker
