// The gradient's norm, and the AdamW step by the rule of tensor/adamw.h.
#include <array>

#include "tensor/adamw.h"
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

// A fixed number of partial sums, so that the order of additions does not depend on the GPU.
constexpr int64_t kPartialSums = 512;

template <class A>
__global__ void sum_of_squares_kernel(double* partial, const A* x, int64_t n) {
  double sum = 0;
  for (int64_t i = global_thread(); i < n; i += kPartialSums * kThreads) {
    const double value = x[i];
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// weight may be master itself: it is written last and not read.
template <class T>
__global__ void adamw_kernel(T* weight, Acc<T>* master, Acc<T>* m, Acc<T>* v, const Acc<T>* grad, int64_t n,
                             AdamWRule<Acc<T>> rule) {
  const int64_t i = global_thread();
  if (i >= n) return;
  Acc<T> w = master[i], mean = m[i], square = v[i];
  rule.advance(w, mean, square, grad[i]);
  m[i] = mean;
  v[i] = square;
  master[i] = w;
  store(weight + i, w);
}

}  // namespace

double CudaBackend::sum_of_squares(const void* x, int64_t n, DType acc) {
  for_accumulator("sum_of_squares", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), kPartialSums, sum_of_squares_kernel<A>, workspace_.get(), x, n));
  });
  std::array<double, kPartialSums> partial;
  copy_to_host(partial.data(), workspace_.get(), sizeof partial);
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

void CudaBackend::adamw(void* weight, void* master, void* m, void* v, const void* grad, int64_t n,
                        const AdamWStep& step, DType t) {
  for_dtype("adamw", t, [&]<class T>(Type<T>) {
    const AdamWRule<Acc<T>> rule(step);
    CUDA_CHECK(launch(stream(), blocks_for(n), adamw_kernel<T>, weight, master, m, v, grad, n, rule));
  });
}

}  // namespace thinker
