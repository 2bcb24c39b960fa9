// Rotary position embedding in place. The pair (x_j, x_{j+D/2}) of every head turns by position * inverse_frequency_j:
//   x_j <- x_j cos - x_{j+D/2} sin,   x_{j+D/2} <- x_{j+D/2} cos + x_j sin.
// The angle is a product of two floats, as in the models' own training; only its sine and cosine are exact.
#include <cmath>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

template <class T>
void rotate(T* x, const T* cosine, const T* sine, int64_t half) {
#pragma omp simd
  for (int64_t j = 0; j < half; ++j) {
    const T a = x[j], b = x[j + half];
    x[j] = a * cosine[j] - b * sine[j];
    x[j + half] = b * cosine[j] + a * sine[j];
  }
}

}  // namespace

void CpuBackend::rope(void* x, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t h, int64_t d,
                      int direction, DType t) {
  with_scalar("rope", t, [&]<class T>(T) {
    const int64_t half = d / 2;
    const T* frequency = static_cast<const T*>(inverse_frequency);
    T* table = scratch_.take<T>(omp_get_max_threads() * d);
    parallel_ranges(n, h * d + 16 * d, [&](int64_t begin, int64_t end) {
      T* cosine = table + omp_get_thread_num() * d;
      T* sine = cosine + half;
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t j = 0; j < half; ++j) {
          const T angle = static_cast<T>(position[i]) * frequency[j];
          cosine[j] = std::cos(angle);
          sine[j] = static_cast<T>(direction) * std::sin(angle);
        }
        for (int64_t head = 0; head < h; ++head) rotate(static_cast<T*>(x) + (i * h + head) * d, cosine, sine, half);
      }
    });
  });
}

}  // namespace thinker
