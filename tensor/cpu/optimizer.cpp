// AdamW (Loshchilov & Hutter, arXiv 1711.05101) in one pass over the parameters, and the gradient's squared norm.
//   g = grad_scale grad,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
//   master -= lr (m / c1 / (sqrt(v / c2) + eps) + weight_decay master)
#include <cmath>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

constexpr int64_t kCost = 4;

template <class T>
void update(T* master, T* m, T* v, const T* grad, int64_t begin, int64_t end, const AdamWStep& s) {
  const T b1 = T(s.beta1), rest1 = T(1 - s.beta1), b2 = T(s.beta2), rest2 = T(1 - s.beta2);
  const T scale = T(s.grad_scale), eps = T(s.eps), step = T(s.lr / s.correction1), keep = T(1 - s.lr * s.weight_decay);
  const T root2 = T(1 / std::sqrt(s.correction2));
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const T g = scale * grad[i];
    m[i] = b1 * m[i] + rest1 * g;
    v[i] = b2 * v[i] + rest2 * g * g;
    master[i] = keep * master[i] - step * m[i] / (std::sqrt(v[i]) * root2 + eps);
  }
}

}  // namespace

double CpuBackend::sum_of_squares(const void* x, int64_t n, DType acc) {
  double total = 0;
  with_scalar("sum_of_squares", acc, [&]<class T>(T) {
    // A number for each block, added in order: the same for any number of threads.
    constexpr int64_t kBlock = 8192;
    const int64_t blocks = (n + kBlock - 1) / kBlock;
    double* partial = scratch_.take<double>(blocks);
    parallel_ranges(blocks, kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const T* values = static_cast<const T*>(x) + block * kBlock;
        const int64_t count = std::min(kBlock, n - block * kBlock);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
        partial[block] = sum;
      }
    });
    for (int64_t block = 0; block < blocks; ++block) total += partial[block];
  });
  return total;
}

void CpuBackend::adamw(void* weight, void* master, void* m, void* v, const void* grad, int64_t n, const AdamWStep& step,
                       DType t) {
  with_scalar("adamw", accumulator_of(t), [&]<class T>(T) {
    parallel_ranges(n, kCost, [&](int64_t begin, int64_t end) {
      update(static_cast<T*>(master), static_cast<T*>(m), static_cast<T*>(v), static_cast<const T*>(grad), begin, end,
             step);
    });
  });
  if (weight != master) convert(weight, master, n, t, accumulator_of(t));
}

}  // namespace thinker
