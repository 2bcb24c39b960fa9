// The gradient's norm and the AdamW step.
//   m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g^2,  w -= lr (m/c1 / (sqrt(v/c2) + eps) + decay w)
#include <array>

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
                             AdamWStep s) {
  using A = Acc<T>;
  const int64_t i = global_thread();
  if (i >= n) return;
  const A g = grad[i] * static_cast<A>(s.grad_scale);
  const A mean = static_cast<A>(s.beta1) * m[i] + static_cast<A>(1 - s.beta1) * g;
  const A square = static_cast<A>(s.beta2) * v[i] + static_cast<A>(1 - s.beta2) * g * g;
  const A step =
      mean / static_cast<A>(s.correction1) / (sqrt(square / static_cast<A>(s.correction2)) + static_cast<A>(s.eps));
  const A w = master[i] - static_cast<A>(s.lr) * (step + static_cast<A>(s.weight_decay) * master[i]);
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
    CUDA_CHECK(launch(stream(), blocks_for(n), adamw_kernel<T>, weight, master, m, v, grad, n, step));
  });
}

}  // namespace thinker
