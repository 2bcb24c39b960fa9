// SwiGLU: y = silu(gate) * up, silu(g) = g s with s = 1 / (1 + exp(-g)).
//   dup = dy silu(g),  dgate = dy up s (1 + g (1 - s))
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void swiglu_forward_kernel(T* y, const T* gate, const T* up, int64_t n) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const Acc<T> g = load(gate + i);
  store(y + i, g / (1 + exp(-g)) * load(up + i));
}

template <class T>
__global__ void swiglu_backward_kernel(T* dgate, T* dup, const T* dy, const T* gate, const T* up, int64_t n,
                                       Write write_gate, Write write_up) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const Acc<T> g = load(gate + i), d = load(dy + i);
  const Acc<T> s = 1 / (1 + exp(-g));
  store(dgate + i, d * load(up + i) * s * (1 + g * (1 - s)), write_gate);
  store(dup + i, d * g * s, write_up);
}

}  // namespace

void CudaBackend::swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType t) {
  for_dtype("swiglu", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), blocks_for(n), swiglu_forward_kernel<T>, y, gate, up, n));
  });
}

void CudaBackend::swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, int64_t n,
                                  DType t, Write write_gate, Write write_up) {
  for_dtype("swiglu", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(
        launch(stream(), blocks_for(n), swiglu_backward_kernel<T>, dgate, dup, dy, gate, up, n, write_gate, write_up));
  });
}

}  // namespace thinker
