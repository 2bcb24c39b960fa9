// SwiGLU: y = silu(gate) * up, silu(g) = g s with s = 1 / (1 + exp(-g)).
//   dup = dy silu(g),  dgate = dy up s (1 + g (1 - s))
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

template <class T>
__global__ void swiglu_forward_kernel(T* y, const T* gate, const T* up, int64_t n) {
  const int64_t i = global_thread() * kPack<T>;
  if (i >= n) return;
  const Pack<T> gates = load_pack(gate, i, n), ups = load_pack(up, i, n);
  Pack<T> result;
  for (int j = 0; j < kPack<T>; ++j) {
    const Acc<T> g = load(&gates.x[j]);
    store(&result.x[j], g / (1 + exp(-g)) * load(&ups.x[j]));
  }
  store_pack(y, i, n, result);
}

template <class T>
__global__ void swiglu_backward_kernel(T* dgate, T* dup, const T* dy, const T* gate, const T* up, int64_t n,
                                       Write write_gate, Write write_up) {
  const int64_t i = global_thread() * kPack<T>;
  if (i >= n) return;
  const Pack<T> gates = load_pack(gate, i, n), ups = load_pack(up, i, n), upstream = load_pack(dy, i, n);
  Pack<T> dgates = write_gate == Write::add ? load_pack(dgate, i, n) : Pack<T>{};
  for (int j = 0; j < kPack<T>; ++j) {
    const Acc<T> g = load(&gates.x[j]), s = 1 / (1 + exp(-g));
    store(&dgates.x[j], load(&upstream.x[j]) * load(&ups.x[j]) * s * (1 + g * (1 - s)), write_gate);
  }
  store_pack(dgate, i, n, dgates);
  // Read only now: one array may be both.
  Pack<T> dups = write_up == Write::add ? load_pack(dup, i, n) : Pack<T>{};
  for (int j = 0; j < kPack<T>; ++j) {
    const Acc<T> g = load(&gates.x[j]), s = 1 / (1 + exp(-g));
    store(&dups.x[j], load(&upstream.x[j]) * g * s, write_up);
  }
  store_pack(dup, i, n, dups);
}

}  // namespace

void CudaBackend::swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType t) {
  for_dtype("swiglu", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), pack_blocks<T>(n), swiglu_forward_kernel<T>, y, gate, up, n));
  });
}

void CudaBackend::swiglu_backward(void* dgate, void* dup, const void* dy, const void* gate, const void* up, int64_t n,
                                  DType t, Write write_gate, Write write_up) {
  for_dtype("swiglu", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), pack_blocks<T>(n), swiglu_backward_kernel<T>, dgate, dup, dy, gate, up, n, write_gate,
                      write_up));
  });
}

}  // namespace thinker
