// Sums in place: element-wise, and of a bias over rows.
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

void CpuBackend::accumulate(void* dst, const void* src, int64_t n, DType t, Write write) {
  if (write == Write::set) return copy(dst, src, n * size_of(t));
  with_scalar("accumulate", t, [&]<class T>(T) {
    parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
      T* sum = static_cast<T*>(dst);
      const T* x = static_cast<const T*>(src);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) sum[i] += x[i];
    });
  });
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
