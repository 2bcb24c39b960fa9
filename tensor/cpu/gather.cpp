// Rows picked by index, and their backward: embedding, gather, and writing into a cache.
#include <cstring>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

/// Rows are only moved here, but a BF16 row would be the one thing on the CPU that works in BF16: not offered.
void check_dtype(const char* op, DType t) {
  with_scalar(op, t, [](auto) {});
}

}  // namespace

void CpuBackend::gather_forward(void* y, const void* x, const int32_t* index, int64_t n, int64_t c, DType t) {
  check_dtype("gather", t);
  const int64_t row = c * size_of(t);
  parallel_ranges(n, c, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(static_cast<char*>(y) + i * row, static_cast<const char*>(x) + index[i] * row, row);
  });
}

void CpuBackend::gather_backward(void* dx, const void* dy, const int32_t* index, int64_t n, int64_t rows, int64_t c,
                                 DType dx_t, DType t, Write write) {
  ENSURE(dx_t == t, "[gather] gradient of ", name(dx_t), " from ", name(t), " is not available on the CPU");
  if (write == Write::set) fill_zero(dx, rows * c * size_of(t));
  with_scalar("gather", t, [&]<class T>(T) {
    // Threads share the columns, so that rows which meet in one place are added in order.
    parallel_ranges(c, n, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < n; ++i) {
        T* to = static_cast<T*>(dx) + index[i] * c;
        const T* from = static_cast<const T*>(dy) + i * c;
#pragma omp simd
        for (int64_t j = begin; j < end; ++j) to[j] += from[j];
      }
    });
  });
}

void CpuBackend::append_to_cache(void* keys, void* values, const void* k, const void* v, const int32_t* index,
                                 int64_t n, int64_t c, DType t) {
  check_dtype("append_to_cache", t);
  const int64_t row = c * size_of(t);
  parallel_ranges(n, 2 * c, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(static_cast<char*>(keys) + index[i] * row, static_cast<const char*>(k) + i * row, row);
      std::memcpy(static_cast<char*>(values) + index[i] * row, static_cast<const char*>(v) + i * row, row);
    }
  });
}

}  // namespace thinker
