// SwiGLU: y = g s u with s = 1 / (1 + exp(-g)).   dup = dy g s,  dgate = dy u s (1 + g (1 - s)).
// For very negative g, exp(-g) is inf and s is 0: the products stay finite.
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/exp.h"

namespace thinker {

namespace {

constexpr int64_t kCost = 8;  // an element's cost beside that of a plain sum

// How to write is known at compile time: of a loop with that choice inside, g++ makes no vectors for AVX2.
template <Write kGate, Write kUp, class T>
void backward(T* dgate, T* dup, const T* dy, const T* gate, const T* up, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const T g = gate[i], u = up[i], d = dy[i];
    const T s = T(1) / (T(1) + cpu::exp(-g));
    // The two may be one array (gate and up the same tensor): the first is stored before the second is loaded.
    const T of_gate = d * u * s * (T(1) + g * (T(1) - s));
    dgate[i] = kGate == Write::add ? dgate[i] + of_gate : of_gate;
    const T of_up = d * g * s;
    dup[i] = kUp == Write::add ? dup[i] + of_up : of_up;
  }
}

}  // namespace

void CpuBackend::swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType t) {
  with_scalar("swiglu", t, [&]<class T>(T) {
    parallel_ranges(n, kCost, [&](int64_t begin, int64_t end) {
      T* out = static_cast<T*>(y);
      const T *g = static_cast<const T*>(gate), *u = static_cast<const T*>(up);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = g[i] / (T(1) + cpu::exp(-g[i])) * u[i];
    });
  });
}

void CpuBackend::swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, int64_t n,
                                 DType t, Write write_gate, Write write_up) {
  with_scalar("swiglu", t, [&]<class T>(T) {
    const auto run = [&]<Write kGate, Write kUp>() {
      parallel_ranges(n, kCost, [&](int64_t begin, int64_t end) {
        backward<kGate, kUp>(static_cast<T*>(dgate), static_cast<T*>(dup), static_cast<const T*>(dy),
                             static_cast<const T*>(gate), static_cast<const T*>(up), begin, end);
      });
    };
    if (write_gate == Write::set && write_up == Write::set) return run.template operator()<Write::set, Write::set>();
    if (write_gate == Write::set) return run.template operator()<Write::set, Write::add>();
    if (write_up == Write::set) return run.template operator()<Write::add, Write::set>();
    run.template operator()<Write::add, Write::add>();
  });
}

}  // namespace thinker
