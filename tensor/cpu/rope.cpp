// Rotary position embedding in place. The pair (x_j, x_{j+D/2}) of every head turns by position * inverse_frequency_j:
//   x_j <- x_j cos - x_{j+D/2} sin,   x_{j+D/2} <- x_{j+D/2} cos + x_j sin.
// The angle is a product of two floats, as in the models' own training; only its sine and cosine are exact.
#include <algorithm>
#include <cmath>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

template <class T>
void rotate(T* x, const T* cosine, const T* sine, T direction, int64_t half) {
#pragma omp simd
  for (int64_t j = 0; j < half; ++j) {
    const T a = x[j], b = x[j + half], turn = direction * sine[j];
    x[j] = a * cosine[j] - b * turn;
    x[j + half] = b * cosine[j] + a * turn;
  }
}

/// The angles (D) of one position.
template <class T>
void angles_at(T* angles, int32_t position, const T* frequency, int64_t half) {
  for (int64_t j = 0; j < half; ++j) {
    const T angle = static_cast<T>(position) * frequency[j];
    angles[j] = std::cos(angle);
    angles[half + j] = std::sin(angle);
  }
}

}  // namespace

// A batch of sequences has each position many times, so sines and cosines are made once a position. Where there are
// more positions than rows (decoding: few rows, far along), once a row. Positions are not negative.
void CpuBackend::rope_angles(void* angles, const int32_t* position, const void* inverse_frequency, int64_t n, int64_t d,
                             DType acc) {
  if (n == 0) return;
  with_scalar("rope", acc, [&]<class T>(T) {
    T* to = static_cast<T*>(angles);
    const T* frequency = static_cast<const T*>(inverse_frequency);
    const int64_t positions = int64_t{1} + *std::max_element(position, position + n), cost = 16 * d;
    if (positions >= n) {
      parallel_ranges(n, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) angles_at(to + i * d, position[i], frequency, d / 2);
      });
      return;
    }
    T* table = scratch_.take<T>(positions * d);
    parallel_ranges(positions, cost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) angles_at(table + i * d, static_cast<int32_t>(i), frequency, d / 2);
    });
    parallel_ranges(n, d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) std::copy_n(table + position[i] * d, d, to + i * d);
    });
  });
}

void CpuBackend::rope(void* q, void* k, const void* angles, int64_t n, int64_t hq, int64_t hk, int64_t d, int direction,
                      DType t) {
  with_scalar("rope", t, [&]<class T>(T) {
    const int64_t half = d / 2;
    parallel_ranges(n, (hq + hk) * d, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* cosine = static_cast<const T*>(angles) + i * d;
        const auto turn = [&](void* x, int64_t heads) {
          for (int64_t head = 0; head < heads; ++head)
            rotate(static_cast<T*>(x) + (i * heads + head) * d, cosine, cosine + half, static_cast<T>(direction), half);
        };
        turn(q, hq);
        turn(k, hk);
      }
    });
  });
}

}  // namespace thinker
