// Log-softmax and pick over rows of logits: logprob = logits[target] - lse; backward (onehot - softmax) * upstream.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One block a row of logits (N, width).
template <class A>
__global__ void logprob_forward_kernel(A* logprob, A* lse, const A* logits, const int32_t* targets,
                                       LogitColumns columns) {
  const int64_t row = blockIdx.x;
  logits += row * columns.width;
  A largest = -INFINITY;
  for (int64_t j = threadIdx.x; j < columns.width; j += kThreads) largest = fmax(largest, logits[j]);
  largest = block_max(largest);
  A sum = 0;
  for (int64_t j = threadIdx.x; j < columns.width; j += kThreads) sum += exp(logits[j] - largest);
  A log_sum = largest + log(block_sum(sum));
  if (threadIdx.x != 0) return;
  if (columns.first > 0) {
    const A before = lse[row], larger = fmax(before, log_sum);
    log_sum = larger + log(exp(before - larger) + exp(log_sum - larger));
  }
  lse[row] = log_sum;
  const int64_t target = targets[row] - columns.first;
  if (target >= 0 && target < columns.width) logprob[row] = logits[target];
  if (columns.first + columns.width == columns.vocabulary) logprob[row] -= log_sum;
}

/// One block a row. dlogits may be logits itself: each thread writes only what it alone has read.
template <class T>
__global__ void logprob_backward_kernel(T* dlogits, const Acc<T>* logits, const Acc<T>* lse, const int32_t* targets,
                                        const Acc<T>* upstream, LogitColumns columns) {
  using A = Acc<T>;
  const int64_t row = blockIdx.x, target = targets[row] - columns.first;
  logits += row * columns.width;
  dlogits += row * columns.width;
  for (int64_t j = threadIdx.x; j < columns.width; j += kThreads) {
    const A onehot = j == target ? 1 : 0;
    store(dlogits + j, (onehot - exp(logits[j] - lse[row])) * upstream[row]);
  }
}

}  // namespace

void CudaBackend::logprob_forward(void* logprob, void* lse, const void* logits, const int32_t* targets, int64_t n,
                                  const LogitColumns& columns, DType acc) {
  for_accumulator("token_logprob", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), n, logprob_forward_kernel<A>, logprob, lse, logits, targets, columns));
  });
}

void CudaBackend::logprob_backward(void* dlogits, const void* logits, const void* lse, const int32_t* targets,
                                   const void* upstream, int64_t n, const LogitColumns& columns, DType acc, DType t) {
  ENSURE(acc == accumulator_of(t), "[token_logprob] logits of ", name(acc), " for ", name(t));
  for_dtype("token_logprob", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), n, logprob_backward_kernel<T>, dlogits, logits, lse, targets, upstream, columns));
  });
}

}  // namespace thinker
