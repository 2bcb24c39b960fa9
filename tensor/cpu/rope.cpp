// Rotary position embedding in place. The pair (x_j, x_{j+D/2}) of every head turns by position * inverse_frequency_j:
//   x_j <- x_j cos - x_{j+D/2} sin,   x_{j+D/2} <- x_{j+D/2} cos + x_j sin.
// The angle is a product of two floats, as in the models' own training; only its sine and cosine are exact.
#include <algorithm>
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

// A batch of sequences has each position many times, so sines and cosines are made once a position. Where there are
// more positions than rows (decoding: few rows, far along), once a row. Positions are not negative.
void CpuBackend::rope(void* x, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t h, int64_t d,
                      int direction, DType t) {
  if (n == 0) return;
  with_scalar("rope", t, [&]<class T>(T) {
    const int64_t half = d / 2;
    const T* frequency = static_cast<const T*>(inverse_frequency);
    const int64_t positions = int64_t{1} + *std::max_element(position, position + n);
    const bool by_position = positions < n;
    const int64_t entries = by_position ? positions : n;
    T* table = scratch_.take<T>(entries * d);  // (entries, D): cosines, sines
    parallel_ranges(entries, 16 * d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T at = static_cast<T>(by_position ? i : position[i]);
        T* cosine = table + i * d;
        for (int64_t j = 0; j < half; ++j) {
          const T angle = at * frequency[j];
          cosine[j] = std::cos(angle);
          cosine[half + j] = static_cast<T>(direction) * std::sin(angle);
        }
      }
    });
    parallel_ranges(n, h * d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* cosine = table + (by_position ? position[i] : i) * d;
        for (int64_t head = 0; head < h; ++head)
          rotate(static_cast<T*>(x) + (i * h + head) * d, cosine, cosine + half, half);
      }
    });
  });
}

}  // namespace thinker
