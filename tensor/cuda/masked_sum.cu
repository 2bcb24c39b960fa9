// Weighted sums over packed sequences: y_b = sum of weight_i x_i over the rows of sequence b. Differences of them are
// taken later: summed in double, as on the CPU.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One block a sequence.
template <class A>
__global__ void masked_sum_forward_kernel(A* y, const A* x, const A* weight, const int32_t* offsets) {
  const int64_t b = blockIdx.x;
  double sum = 0;
  for (int64_t i = offsets[b] + static_cast<int64_t>(threadIdx.x); i < offsets[b + 1]; i += kThreads)
    sum += static_cast<double>(weight[i]) * static_cast<double>(x[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[b] = static_cast<A>(sum);
}

/// One block a sequence.
template <class A>
__global__ void masked_sum_backward_kernel(A* dx, const A* dy, const A* weight, const int32_t* offsets, Write write) {
  const int64_t b = blockIdx.x;
  for (int64_t i = offsets[b] + static_cast<int64_t>(threadIdx.x); i < offsets[b + 1]; i += kThreads)
    store(dx + i, weight[i] * dy[b], write);
}

}  // namespace

void CudaBackend::masked_sum_forward(void* y, const void* x, const void* weight, const int32_t* offsets, int64_t b,
                                     DType acc) {
  for_accumulator("masked_sum", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), b, masked_sum_forward_kernel<A>, y, x, weight, offsets));
  });
}

void CudaBackend::masked_sum_backward(void* dx, const void* dy, const void* weight, const int32_t* offsets, int64_t b,
                                      DType acc, Write write) {
  for_accumulator("masked_sum", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), b, masked_sum_backward_kernel<A>, dx, dy, weight, offsets, write));
  });
}

}  // namespace thinker
