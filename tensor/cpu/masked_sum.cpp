// Weighted sums over packed sequences: y_b = sum of weight_i x_i over rows offsets[b] to offsets[b+1]. A few thousand
// numbers at most, of which differences are taken later: summed in double.
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

void CpuBackend::masked_sum_forward(void* y, const void* x, const void* weight, const int32_t* offsets, int64_t b,
                                    DType acc) {
  with_scalar("masked_sum", acc, [&]<class T>(T) {
    const T *values = static_cast<const T*>(x), *w = static_cast<const T*>(weight);
    for (int64_t s = 0; s < b; ++s) {
      double sum = 0;
      for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i)
        sum += static_cast<double>(w[i]) * static_cast<double>(values[i]);
      static_cast<T*>(y)[s] = static_cast<T>(sum);
    }
  });
}

void CpuBackend::masked_sum_backward(void* dx, const void* dy, const void* weight, const int32_t* offsets, int64_t b,
                                     DType acc, Write write) {
  with_scalar("masked_sum", acc, [&]<class T>(T) {
    T* to = static_cast<T*>(dx);
    const T *d = static_cast<const T*>(dy), *w = static_cast<const T*>(weight);
    for (int64_t s = 0; s < b; ++s)
      for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) to[i] = w[i] * d[s] + (write == Write::add ? to[i] : T(0));
  });
}

}  // namespace thinker
