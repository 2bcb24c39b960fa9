// Sums: element-wise, and of a bias over rows.
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

void CpuBackend::add(void* y, const void* a, const void* b, int64_t n, DType t) {
  with_scalar("add", t, [&]<class T>(T) {
    parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
      T* out = static_cast<T*>(y);
      const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = left[i] + right[i];
    });
  });
}

void CpuBackend::accumulate(void* dst, const void* src, int64_t n, DType t, Write write) {
  if (write == Write::set) return copy(dst, src, n * size_of(t));
  add(dst, dst, src, n, t);
}

void CpuBackend::bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType t) {
  with_scalar("bias", t, [&]<class T>(T) {
    parallel_ranges(n, c, [&](int64_t begin, int64_t end) {
      const T* b = static_cast<const T*>(bias);
      for (int64_t i = begin; i < end; ++i) {
        T* row = static_cast<T*>(y) + i * c;
#pragma omp simd
        for (int64_t j = 0; j < c; ++j) row[j] += b[j];
      }
    });
  });
}

void CpuBackend::bias_backward(void* dbias, const void* dy, int64_t n, int64_t c, DType t) {
  with_scalar("bias", t, [&]<class T>(T) {
    // Threads share the columns: every sum runs down its column in order.
    parallel_ranges(c, n, [&](int64_t begin, int64_t end) {
      T* db = static_cast<T*>(dbias);
      for (int64_t i = 0; i < n; ++i) {
        const T* row = static_cast<const T*>(dy) + i * c;
#pragma omp simd
        for (int64_t j = begin; j < end; ++j) db[j] += row[j];
      }
    });
  });
}

}  // namespace thinker
