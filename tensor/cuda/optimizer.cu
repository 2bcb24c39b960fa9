// The gradient's norm, and the AdamW step by the rule and with the formats of moments of tensor/adamw.h.
#include <vector>

#include "tensor/adamw.h"
#include "tensor/cuda/array_table.cuh"

namespace thinker {

namespace {

// Packs that a thread sums: a fixed number, so that the order of additions does not depend on the GPU.
constexpr int64_t kPacksToSum = 16;

/// partial: a sum for each block.
template <class A>
__global__ void sum_of_squares_kernel(double* partial, const __grid_constant__ ArrayTable<ArrayView> table) {
  int64_t block = blockIdx.x;
  const ArrayView& array = table.find(block);
  double sum = 0;
  for (int64_t k = 0; k < kPacksToSum; ++k) {
    const int64_t i = ((block * kPacksToSum + k) * kThreads + threadIdx.x) * kPack<A>;
    for (const double x : load_pack(static_cast<const A*>(array.data), i, array.n).x) sum += x * x;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// weight (T) = master (acc), from i on, where they are not one array.
template <class T>
__device__ void store_weights(const AdamWSlot& slot, int64_t i, const Pack<Acc<T>>& master) {
  if (slot.weight == slot.master) return;
  Pack<T, kPack<Acc<T>>> weight;
  for (int j = 0; j < kPack<Acc<T>>; ++j) store(&weight.x[j], master.x[j]);
  store_pack(static_cast<T*>(slot.weight), i, slot.n, weight);
}

/// M: the type of the moments, acc or bf16.
template <class T, class M>
__global__ void adamw_kernel(const __grid_constant__ ArrayTable<AdamWSlot> table, AdamWRule<Acc<T>> rule,
                             uint32_t number) {
  using A = Acc<T>;
  constexpr int kN = kPack<A>;
  int64_t block = blockIdx.x;
  const AdamWSlot& slot = table.find(block);
  const int64_t i = (block * kThreads + threadIdx.x) * kN, n = slot.n;
  if (i >= n) return;
  if (!slot.decays) rule = rule.without_decay();
  auto *master = static_cast<A*>(slot.master), *grad = static_cast<A*>(slot.grad);
  auto *m = static_cast<M*>(slot.m), *v = static_cast<M*>(slot.v);
  Pack<A> weights = load_pack(master, i, n);
  Pack<M, kN> means = load_pack<M, kN>(m, i, n), squares = load_pack<M, kN>(v, i, n);
  const Pack<A> grads = load_pack(grad, i, n);
  for (int j = 0; j < kN; ++j) {
    A mean = load(&means.x[j]), square = load(&squares.x[j]);
    rule.advance(weights.x[j], mean, square, grads.x[j]);
    if constexpr (std::is_same_v<M, bf16>) {
      const uint32_t bits = rounding_bits(number, i + j);
      means.x[j] = to_bf16_at_random(mean, bits & 0xffffu);
      squares.x[j] = to_bf16_at_random(square, bits >> 16);
    } else {
      means.x[j] = mean;
      squares.x[j] = square;
    }
  }
  store_pack(m, i, n, means);
  store_pack(v, i, n, squares);
  store_pack(master, i, n, weights);
  store_pack(grad, i, n, Pack<A>{});
  store_weights<T>(slot, i, weights);
}

static_assert(kMomentBlock == kThreads, "a block of threads is a block of moments");

/// A thread for each weight of a block. Threads past the end take part in the maxima only.
template <class T>
__global__ void adamw_8bit_kernel(const __grid_constant__ ArrayTable<AdamWSlot> table, AdamWRule<float> rule,
                                  uint32_t number) {
  __shared__ float moment_values[1 << kMomentBits], root_values[1 << kRootBits];
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread < (1 << kMomentBits)) moment_values[thread] = code_value(kMomentBits, thread);
  root_values[thread] = code_value(kRootBits, thread);
  __syncthreads();
  int64_t block = blockIdx.x;
  const AdamWSlot& slot = table.find(block);
  const int64_t i = block * kThreads + thread;
  if (!slot.decays) rule = rule.without_decay();
  auto *master = static_cast<float*>(slot.master), *grad = static_cast<float*>(slot.grad);
  auto *m = static_cast<uint8_t*>(slot.m), *v = static_cast<uint8_t*>(slot.v);
  float w = 0, mean = 0, root = 0;
  if (i < slot.n) {
    const float size = slot.m_scale[block] * moment_values[m[i] & 0x7f];
    root = slot.v_scale[block] * root_values[v[i]];
    mean = m[i] & 0x80 ? -size : size;
    w = master[i];
    float square = root * root;
    rule.advance(w, mean, square, grad[i]);
    root = sqrtf(square);
  }
  // Every thread has read the old scales before one writes the new: block_max waits for all.
  const float most_mean = block_max(fabsf(mean)), most_root = block_max(root);
  if (thread == 0) {
    slot.m_scale[block] = most_mean;
    slot.v_scale[block] = most_root;
  }
  if (i >= slot.n) return;
  const uint32_t bits = rounding_bits(number, i);
  const int size = code_at_random<kMomentBits>(fabsf(mean) / most_mean, bits & 0xffffu, moment_values);
  const int code = code_at_random<kRootBits>(root / most_root, bits >> 16, root_values);
  m[i] = static_cast<uint8_t>(size | (mean < 0.0f ? 0x80 : 0));
  v[i] = static_cast<uint8_t>(code == 0 && root > 0.0f ? 1 : code);
  master[i] = w;
  grad[i] = 0;
  if (slot.weight != slot.master) store(static_cast<T*>(slot.weight) + i, w);
}

}  // namespace

double CudaBackend::sum_of_squares(std::span<const ArrayView> arrays, DType acc) {
  int64_t blocks = 0;  // of all launches
  for_accumulator("sum_of_squares", acc, [&]<class A>(Type<A>) {
    for_tables(arrays, kPacksToSum * kThreads * kPack<A>, [&](const ArrayTable<ArrayView>& table, int64_t more) {
      ENSURE((blocks + more) * 8 <= kWorkspaceBytes, "[sum_of_squares] too many numbers at once");
      void* partial = static_cast<double*>(workspace_.get()) + blocks;
      CUDA_CHECK(launch(stream(), more, sum_of_squares_kernel<A>, partial, table));
      blocks += more;
    });
  });
  std::vector<double> partial(static_cast<size_t>(blocks));
  copy_to_host(partial.data(), workspace_.get(), blocks * 8);
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

void CudaBackend::adamw(std::span<const AdamWSlot> slots, OptimizerState state, const AdamWStep& step, DType t) {
  const auto run = [&](const auto& rule, int64_t block_size, auto kernel) {
    for_tables(slots, block_size, [&](const ArrayTable<AdamWSlot>& table, int64_t blocks) {
      static_assert(sizeof table + sizeof rule + sizeof step.number <= kMostParameterBytes);
      CUDA_CHECK(launch(stream(), blocks, kernel, table, rule, step.number));
    });
  };
  for_dtype("adamw", t, [&]<class T>(Type<T>) {
    using A = Acc<T>;
    const AdamWRule<A> rule(step);
    const int64_t packs = kThreads * kPack<A>;
    if (state == OptimizerState::f32) return run(rule, packs, adamw_kernel<T, A>);
    if constexpr (std::is_same_v<A, float>) {
      if (state == OptimizerState::bf16) return run(rule, packs, adamw_kernel<T, bf16>);
      return run(rule, kMomentBlock, adamw_8bit_kernel<T>);
    }
    fail("[adamw] moments in fewer bits for weights of ", name(t));
  });
}

}  // namespace thinker
