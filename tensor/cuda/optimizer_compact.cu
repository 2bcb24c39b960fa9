// The AdamW step with moments in 16 or 8 bits, by the rule and the formats of tensor/adamw.h.
#include "tensor/adamw.h"
#include "tensor/cuda/kernel.cuh"

namespace thinker {

namespace {

static_assert(kMomentBlock == kThreads, "a block of threads is a block of moments");

/// weight may be master itself: it is written last and not read.
template <class T>
__global__ void adamw_bf16_kernel(T* weight, float* master, bf16* m, bf16* v, const float* grad, int64_t n,
                                  AdamWRule<float> rule, uint32_t number) {
  const int64_t i = global_thread();
  if (i >= n) return;
  float w = master[i], mean = from_bf16(m[i]), square = from_bf16(v[i]);
  rule.advance(w, mean, square, grad[i]);
  const uint32_t bits = rounding_bits(number, i);
  m[i] = to_bf16_at_random(mean, bits & 0xffffu);
  v[i] = to_bf16_at_random(square, bits >> 16);
  master[i] = w;
  store(weight + i, w);
}

/// A thread for each weight of a block. Threads past the end take part in the maxima only.
template <class T>
__global__ void adamw_8bit_kernel(T* weight, float* master, uint8_t* m, uint8_t* v, float* m_scale, float* v_scale,
                                  const float* grad, int64_t n, AdamWRule<float> rule, uint32_t number) {
  __shared__ float moment_values[1 << kMomentBits], root_values[1 << kRootBits];
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread < (1 << kMomentBits)) moment_values[thread] = code_value(kMomentBits, thread);
  root_values[thread] = code_value(kRootBits, thread);
  __syncthreads();
  const int64_t i = global_thread();
  float w = 0, mean = 0, root = 0;
  if (i < n) {
    const float size = m_scale[blockIdx.x] * moment_values[m[i] & 0x7f];
    root = v_scale[blockIdx.x] * root_values[v[i]];
    mean = m[i] & 0x80 ? -size : size;
    w = master[i];
    float square = root * root;
    rule.advance(w, mean, square, grad[i]);
    root = sqrtf(square);
  }
  // Every thread has read the old scales before one writes the new: block_max waits for all.
  const float most_mean = block_max(fabsf(mean)), most_root = block_max(root);
  if (thread == 0) {
    m_scale[blockIdx.x] = most_mean;
    v_scale[blockIdx.x] = most_root;
  }
  if (i >= n) return;
  const uint32_t bits = rounding_bits(number, i);
  const int size = code_at_random<kMomentBits>(fabsf(mean) / most_mean, bits & 0xffffu, moment_values);
  const int code = code_at_random<kRootBits>(root / most_root, bits >> 16, root_values);
  m[i] = static_cast<uint8_t>(size | (mean < 0.0f ? 0x80 : 0));
  v[i] = static_cast<uint8_t>(code == 0 && root > 0.0f ? 1 : code);
  master[i] = w;
  store(weight + i, w);
}

}  // namespace

void CudaBackend::adamw_compact(void* weight, void* master, const CompactMoments& moments, const void* grad, int64_t n,
                                const AdamWStep& step, DType t) {
  const AdamWRule<float> rule(step);
  const auto run = [&]<class T>(Type<T>) {
    if (moments.format == OptimizerState::bf16) {
      CUDA_CHECK(launch(stream(), blocks_for(n), adamw_bf16_kernel<T>, weight, master, moments.m, moments.v, grad, n,
                        rule, step.number));
    } else {
      CUDA_CHECK(launch(stream(), blocks_for(n), adamw_8bit_kernel<T>, weight, master, moments.m, moments.v,
                        moments.m_scale, moments.v_scale, grad, n, rule, step.number));
    }
  };
  if (t == DType::BF16) return run(Type<bf16>{});
  ENSURE(t == DType::F32, "[adamw_compact] weights of ", name(t));
  run(Type<float>{});
}

}  // namespace thinker
