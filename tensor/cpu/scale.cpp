// Multiplication by a number.
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

void CpuBackend::scale(void* y, const void* x, double factor, int64_t n, DType t, Write write) {
  with_scalar("scale", t, [&]<class T>(T) {
    parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
      T* out = static_cast<T*>(y);
      const T* in = static_cast<const T*>(x);
      const T f = static_cast<T>(factor);
      const bool adds = write == Write::add;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = adds ? out[i] + f * in[i] : f * in[i];
    });
  });
}

}  // namespace thinker
