// RMSNorm over rows x (N, C): r = 1 / sqrt(mean(x^2) + eps), y = x r w.
//   dw_c += sum over rows of dy_c x_c r
//   dx_c  = r (dy_c w_c - x_c r^2 mean over c of (dy_c w_c x_c))
#include <cmath>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

template <class T>
void forward_row(T* y, T* rstd, const T* x, const T* w, int64_t c, T eps) {
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < c; ++j) squares += x[j] * x[j];
  const T r = T(1) / std::sqrt(squares / T(c) + eps);
  *rstd = r;
#pragma omp simd
  for (int64_t j = 0; j < c; ++j) y[j] = x[j] * r * w[j];
}

/// dw may be null.
template <class T>
void backward_row(T* dx, T* dw, const T* dy, const T* x, const T* w, T r, int64_t c, Write write) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t j = 0; j < c; ++j) dot += dy[j] * w[j] * x[j];
  const T slope = r * r * dot / T(c);
  if (write == Write::add) {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) dx[j] += r * (dy[j] * w[j] - x[j] * slope);
  } else {
#pragma omp simd
    for (int64_t j = 0; j < c; ++j) dx[j] = r * (dy[j] * w[j] - x[j] * slope);
  }
  if (!dw) return;
#pragma omp simd
  for (int64_t j = 0; j < c; ++j) dw[j] += dy[j] * x[j] * r;
}

}  // namespace

void CpuBackend::rmsnorm_forward(void* y, void* rstd, const void* x, const void* w, int64_t n, int64_t c, double eps,
                                 DType t) {
  with_scalar("rmsnorm", t, [&]<class T>(T) {
    parallel_ranges(n, c, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        forward_row(static_cast<T*>(y) + i * c, static_cast<T*>(rstd) + i, static_cast<const T*>(x) + i * c,
                    static_cast<const T*>(w), c, static_cast<T>(eps));
    });
  });
}

void CpuBackend::rmsnorm_backward(void* dx, void* dw, const void* dy, const void* x, const void* w, const void* rstd,
                                  int64_t n, int64_t c, DType t, Write write) {
  with_scalar("rmsnorm", t, [&]<class T>(T) {
    // dw is summed within blocks of rows, then over the blocks in order: the same for any number of threads.
    constexpr int64_t kRows = 64;
    const int64_t blocks = (n + kRows - 1) / kRows;
    T* partial = dw ? scratch_.take<T>(blocks * c) : nullptr;
    parallel_ranges(blocks, kRows * c, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        T* sum = partial ? partial + block * c : nullptr;
        if (sum) std::fill(sum, sum + c, T(0));
        for (int64_t i = block * kRows; i < std::min(n, (block + 1) * kRows); ++i)
          backward_row(static_cast<T*>(dx) + i * c, sum, static_cast<const T*>(dy) + i * c,
                       static_cast<const T*>(x) + i * c, static_cast<const T*>(w), static_cast<const T*>(rstd)[i], c,
                       write);
      }
    });
    if (!partial) return;
    for (int64_t block = 0; block < blocks; ++block) {
      T* total = static_cast<T*>(dw);
      const T* sum = partial + block * c;
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) total[j] += sum[j];
    }
  });
}

}  // namespace thinker
