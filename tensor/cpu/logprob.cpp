// Log-probabilities of targets from rows of logits (N, V): logprob = logit[target] - lse,
//   lse = max + log(sum of exp(logit - max)), some columns at a time,   dlogits = (onehot(target) - exp(logit - lse))
//   upstream.
// And the draw of tokens, row by row (tensor/cpu/sample.h).
#include <cmath>
#include <exception>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/exp.h"
#include "tensor/cpu/sample.h"

namespace thinker {

namespace {

constexpr int64_t kCost = 4;  // an element's cost beside that of a plain sum

template <class T>
T log_sum_exp(const T* x, int64_t v) {
  // NaN is skipped by the maximum and returns in the sum.
  T highest = x[0];
#pragma omp simd reduction(max : highest)
  for (int64_t j = 0; j < v; ++j) highest = x[j] > highest ? x[j] : highest;
  // Blocks are short enough for sums in T; their total is kept in double.
  constexpr int64_t kBlock = 1024;
  double total = 0;
  for (int64_t begin = 0; begin < v; begin += kBlock) {
    const int64_t end = std::min(v, begin + kBlock);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = begin; j < end; ++j) sum += cpu::exp(x[j] - highest);
    total += static_cast<double>(sum);
  }
  return highest + static_cast<T>(std::log(total));
}

/// log(exp(a) + exp(b)).
template <class T>
T log_add(T a, T b) {
  const T highest = a > b ? a : b;
  return highest + std::log(std::exp(a - highest) + std::exp(b - highest));
}

}  // namespace

void CpuBackend::logprob_forward(void* logprob, void* lse, const void* logits, const int32_t* targets, int64_t n,
                                 const LogitColumns& columns, DType acc) {
  with_scalar("token_logprob", acc, [&]<class T>(T) {
    T *picked = static_cast<T*>(logprob), *sums = static_cast<T*>(lse);
    parallel_ranges(n, columns.width * kCost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* row = static_cast<const T*>(logits) + i * columns.width;
        const T here = log_sum_exp(row, columns.width);
        sums[i] = columns.first == 0 ? here : log_add(sums[i], here);
        const int64_t target = targets[i] - columns.first;
        if (target >= 0 && target < columns.width) picked[i] = row[target];
        if (columns.first + columns.width == columns.vocabulary) picked[i] -= sums[i];
      }
    });
  });
}

void CpuBackend::logprob_backward(void* dlogits, const void* logits, const void* lse, const int32_t* targets,
                                  const void* upstream, int64_t n, const LogitColumns& columns, DType acc, DType t) {
  ENSURE(t == acc, "[token_logprob] gradient in ", name(t), " is not available on the CPU: use F32");
  with_scalar("token_logprob", acc, [&]<class T>(T) {
    parallel_ranges(n, columns.width * kCost, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* to = static_cast<T*>(dlogits) + i * columns.width;
        const T* from = static_cast<const T*>(logits) + i * columns.width;
        const T l = static_cast<const T*>(lse)[i], up = static_cast<const T*>(upstream)[i];
#pragma omp simd
        for (int64_t j = 0; j < columns.width; ++j) to[j] = -up * cpu::exp(from[j] - l);
        const int64_t target = targets[i] - columns.first;
        if (target >= 0 && target < columns.width) to[target] += up;
      }
    });
  });
}

void CpuBackend::sample(int32_t* host_ids, float* host_logprobs, const void* logits, const SampleRow* host_rows,
                        const int32_t* host_end_ids, int64_t end_ids, const SamplingOptions& options, int64_t n,
                        int64_t v) {
  float* weights = scratch_.take<float>(omp_get_max_threads() * v);
  // An exception may not leave a parallel loop: each row keeps its own, and the first is thrown on.
  std::vector<std::exception_ptr> errors(n);
  parallel_ranges(n, v * kCost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) try {
        const std::span<const float> row(static_cast<const float*>(logits) + i * v, v);
        const cpu::DrawnToken drawn = cpu::sample_row(weights + omp_get_thread_num() * v, row, host_rows[i],
                                                      {host_end_ids, static_cast<size_t>(end_ids)}, options);
        host_ids[i] = drawn.id;
        host_logprobs[i] = drawn.logprob;
      } catch (...) {
        errors[i] = std::current_exception();
      }
  });
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
}

}  // namespace thinker
