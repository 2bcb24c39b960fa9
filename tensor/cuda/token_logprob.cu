// Log-softmax and pick over rows of logits: logprob = logits[target] - lse; backward (onehot - softmax) * upstream.
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

/// One block a row of logits (N, V).
template <class A>
__global__ void logprob_forward_kernel(A* logprob, A* lse, const A* logits, const int32_t* targets, int64_t v) {
  const int64_t row = blockIdx.x;
  logits += row * v;
  A largest = -INFINITY;
  for (int64_t j = threadIdx.x; j < v; j += kThreads) largest = fmax(largest, logits[j]);
  largest = block_max(largest);
  A sum = 0;
  for (int64_t j = threadIdx.x; j < v; j += kThreads) sum += exp(logits[j] - largest);
  const A log_sum = largest + log(block_sum(sum));
  if (threadIdx.x != 0) return;
  lse[row] = log_sum;
  logprob[row] = logits[targets[row]] - log_sum;
}

/// One block a row. dlogits may be logits itself: each thread writes only what it alone has read.
template <class T>
__global__ void logprob_backward_kernel(T* dlogits, const Acc<T>* logits, const Acc<T>* lse, const int32_t* targets,
                                        const Acc<T>* upstream, int64_t v) {
  using A = Acc<T>;
  const int64_t row = blockIdx.x;
  logits += row * v;
  dlogits += row * v;
  for (int64_t j = threadIdx.x; j < v; j += kThreads) {
    const A onehot = j == targets[row] ? 1 : 0;
    store(dlogits + j, (onehot - exp(logits[j] - lse[row])) * upstream[row]);
  }
}

}  // namespace

void CudaBackend::logprob_forward(void* logprob, void* lse, const void* logits, const int32_t* targets, int64_t n,
                                  int64_t v, DType acc) {
  for_accumulator("token_logprob", acc, [&]<class A>(Type<A>) {
    CUDA_CHECK(launch(stream(), n, logprob_forward_kernel<A>, logprob, lse, logits, targets, v));
  });
}

void CudaBackend::logprob_backward(void* dlogits, const void* logits, const void* lse, const int32_t* targets,
                                   const void* upstream, int64_t n, int64_t v, DType acc, DType t) {
  ENSURE(acc == accumulator_of(t), "[token_logprob] logits of ", name(acc), " for ", name(t));
  for_dtype("token_logprob", t, [&]<class T>(Type<T>) {
    CUDA_CHECK(launch(stream(), n, logprob_backward_kernel<T>, dlogits, logits, lse, targets, upstream, v));
  });
}

}  // namespace thinker
