// AdamW (Loshchilov & Hutter, arXiv 1711.05101) in one pass over the parameters, and the gradient's squared norm.
#include <array>
#include <cmath>

#include "tensor/adamw.h"
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

constexpr int64_t kCost = 4;
constexpr int64_t kCompactCost = 40;

template <class T>
void update(T* master, T* m, T* v, const T* grad, int64_t begin, int64_t end, const AdamWRule<T>& rule) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) rule.advance(master[i], m[i], v[i], grad[i]);
}

void update_bf16(float* master, bf16* m, bf16* v, const float* grad, int64_t begin, int64_t end,
                 const AdamWRule<float>& rule, uint32_t number) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    float mean = from_bf16(m[i]), square = from_bf16(v[i]);
    rule.advance(master[i], mean, square, grad[i]);
    const uint32_t bits = rounding_bits(number, i);
    m[i] = to_bf16_at_random(mean, bits & 0xffffu);
    v[i] = to_bf16_at_random(square, bits >> 16);
  }
}

template <int kBits>
constexpr std::array<float, 1 << kBits> code_values() {
  std::array<float, 1 << kBits> values{};
  for (int k = 0; k < (1 << kBits); ++k) values[k] = code_value(kBits, k);
  return values;
}
constexpr auto kMomentValues = code_values<kMomentBits>();
constexpr auto kRootValues = code_values<kRootBits>();

/// One block of at most kMomentBlock weights, the first of which is the tensor's element `first`.
void update_block(float* master, uint8_t* m, uint8_t* v, float* m_scale, float* v_scale, const float* grad,
                  int64_t first, int64_t n, const AdamWRule<float>& rule, uint32_t number) {
  std::array<float, kMomentBlock> means, roots;
  float most_mean = 0.0f, most_root = 0.0f;
#pragma omp simd reduction(max : most_mean, most_root)
  for (int64_t i = 0; i < n; ++i) {
    const float size = *m_scale * kMomentValues[m[i] & 0x7f], root = *v_scale * kRootValues[v[i]];
    float mean = m[i] & 0x80 ? -size : size, square = root * root;
    rule.advance(master[i], mean, square, grad[i]);
    means[i] = mean;
    roots[i] = std::sqrt(square);
    most_mean = std::max(most_mean, std::fabs(mean));
    most_root = std::max(most_root, roots[i]);
  }
  *m_scale = most_mean;
  *v_scale = most_root;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = rounding_bits(number, first + i);
    const int size = code_at_random<kMomentBits>(std::fabs(means[i]) / most_mean, bits & 0xffffu, kMomentValues.data());
    const int root = code_at_random<kRootBits>(roots[i] / most_root, bits >> 16, kRootValues.data());
    m[i] = static_cast<uint8_t>(size | (means[i] < 0.0f ? 0x80 : 0));
    v[i] = static_cast<uint8_t>(root == 0 && roots[i] > 0.0f ? 1 : root);  // never smaller than it can be told
  }
}

}  // namespace

double CpuBackend::sum_of_squares(const void* x, int64_t n, DType acc) {
  double total = 0;
  with_scalar("sum_of_squares", acc, [&]<class T>(T) {
    // A number for each block, added in order: the same for any number of threads.
    constexpr int64_t kBlock = 8192;
    const int64_t blocks = (n + kBlock - 1) / kBlock;
    double* partial = scratch_.take<double>(blocks);
    parallel_ranges(blocks, kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const T* values = static_cast<const T*>(x) + block * kBlock;
        const int64_t count = std::min(kBlock, n - block * kBlock);
        // Four sums: one alone would wait for its own last addition, not for memory.
        const auto square = [values](int64_t i) {
          return static_cast<double>(values[i]) * static_cast<double>(values[i]);
        };
        const int64_t quarter = count / 4;
        double a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
        for (int64_t i = 0; i < quarter; ++i) {
          a += square(i);
          b += square(i + quarter);
          c += square(i + 2 * quarter);
          d += square(i + 3 * quarter);
        }
        for (int64_t i = 4 * quarter; i < count; ++i) a += square(i);
        partial[block] = (a + b) + (c + d);
      }
    });
    for (int64_t block = 0; block < blocks; ++block) total += partial[block];
  });
  return total;
}

void CpuBackend::adamw(void* weight, void* master, void* m, void* v, const void* grad, int64_t n, const AdamWStep& step,
                       DType t) {
  with_scalar("adamw", accumulator_of(t), [&]<class T>(T) {
    const AdamWRule<T> rule(step);
    parallel_ranges(n, kCost, [&](int64_t begin, int64_t end) {
      update(static_cast<T*>(master), static_cast<T*>(m), static_cast<T*>(v), static_cast<const T*>(grad), begin, end,
             rule);
    });
  });
  if (weight != master) convert(weight, master, n, t, accumulator_of(t));
}

void CpuBackend::adamw_compact(void* weight, void* master, const CompactMoments& moments, const void* grad, int64_t n,
                               const AdamWStep& step, DType t) {
  ENSURE(accumulator_of(t) == DType::F32, "[adamw_compact] weights of ", name(t));
  const AdamWRule<float> rule(step);
  auto* w = static_cast<float*>(master);
  const auto* g = static_cast<const float*>(grad);
  if (moments.format == OptimizerState::bf16) {
    parallel_ranges(n, kCompactCost, [&](int64_t begin, int64_t end) {
      update_bf16(w, static_cast<bf16*>(moments.m), static_cast<bf16*>(moments.v), g, begin, end, rule, step.number);
    });
  } else {
    auto *m = static_cast<uint8_t*>(moments.m), *v = static_cast<uint8_t*>(moments.v);
    const int64_t blocks = (n + kMomentBlock - 1) / kMomentBlock;
    parallel_ranges(blocks, kMomentBlock * kCompactCost, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t i = b * kMomentBlock;
        update_block(w + i, m + i, v + i, moments.m_scale + b, moments.v_scale + b, g + i, i,
                     std::min(kMomentBlock, n - i), rule, step.number);
      }
    });
  }
  if (weight != master) convert(weight, master, n, t, DType::F32);
}

}  // namespace thinker
