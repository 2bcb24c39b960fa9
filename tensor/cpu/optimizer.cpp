// AdamW (Loshchilov & Hutter, arXiv 1711.05101) in one pass over the parameters, and the gradient's squared norm.
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/adamw.h"
#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

constexpr int64_t kCost = 4;  // of a number, for parallel_ranges
constexpr int64_t kCompactCost = 40;

/// Part of one of several arrays.
struct Piece {
  size_t array;
  int64_t begin, end;
};

/// All of the arrays, in pieces of `length` numbers.
template <class Arrays>
std::vector<Piece> pieces_of(const Arrays& arrays, int64_t length) {
  std::vector<Piece> pieces;
  for (size_t a = 0; a < arrays.size(); ++a)
    for (int64_t begin = 0; begin < arrays[a].n; begin += length)
      pieces.push_back({a, begin, std::min(arrays[a].n, begin + length)});
  return pieces;
}

/// Calls body(i) for each piece i, in one parallel region for all arrays: those of a small model are each worth none.
template <class Body>
void for_pieces(const std::vector<Piece>& pieces, int64_t cost, const Body& body) {
  int64_t numbers = 0;
  for (const Piece& p : pieces) numbers += p.end - p.begin;
  const auto count = static_cast<int64_t>(pieces.size());
  parallel_ranges(count, numbers * cost / std::max<int64_t>(count, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

template <class T>
void update(const AdamWSlot& slot, int64_t begin, int64_t end, const AdamWRule<T>& rule) {
  auto *master = static_cast<T*>(slot.master), *m = static_cast<T*>(slot.m), *v = static_cast<T*>(slot.v),
       *grad = static_cast<T*>(slot.grad);
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    rule.advance(master[i], m[i], v[i], grad[i]);
    grad[i] = 0;
  }
}

void update_bf16(const AdamWSlot& slot, int64_t begin, int64_t end, const AdamWRule<float>& rule, uint32_t number) {
  auto *master = static_cast<float*>(slot.master), *grad = static_cast<float*>(slot.grad);
  auto *m = static_cast<bf16*>(slot.m), *v = static_cast<bf16*>(slot.v);
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    float mean = from_bf16(m[i]), square = from_bf16(v[i]);
    rule.advance(master[i], mean, square, grad[i]);
    const uint32_t bits = rounding_bits(number, i);
    m[i] = to_bf16_at_random(mean, bits & 0xffffu);
    v[i] = to_bf16_at_random(square, bits >> 16);
    grad[i] = 0;
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

/// Weights first to first + n of a slot: at most kMomentBlock, whose moments share a scale.
void update_block(const AdamWSlot& slot, int64_t first, int64_t n, const AdamWRule<float>& rule, uint32_t number) {
  auto *master = static_cast<float*>(slot.master) + first, *grad = static_cast<float*>(slot.grad) + first;
  auto *m = static_cast<uint8_t*>(slot.m) + first, *v = static_cast<uint8_t*>(slot.v) + first;
  float *m_scale = slot.m_scale + first / kMomentBlock, *v_scale = slot.v_scale + first / kMomentBlock;
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
    grad[i] = 0;
  }
}

void update_compact(const AdamWSlot& slot, int64_t begin, int64_t end, OptimizerState state,
                    const AdamWRule<float>& rule, uint32_t number) {
  if (state == OptimizerState::bf16) return update_bf16(slot, begin, end, rule, number);
  for (int64_t first = begin; first < end; first += kMomentBlock)
    update_block(slot, first, std::min(kMomentBlock, end - first), rule, number);
}

template <class T>
double squares(const T* x, int64_t n) {
  const auto square = [x](int64_t i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); };
  // Four sums: one alone would wait for its own last addition, not for memory.
  const int64_t quarter = n / 4;
  double a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
  for (int64_t i = 0; i < quarter; ++i) {
    a += square(i);
    b += square(i + quarter);
    c += square(i + 2 * quarter);
    d += square(i + 3 * quarter);
  }
  for (int64_t i = 4 * quarter; i < n; ++i) a += square(i);
  return (a + b) + (c + d);
}

}  // namespace

double CpuBackend::sum_of_squares(std::span<const ArrayView> arrays, DType acc) {
  double total = 0;
  with_scalar("sum_of_squares", acc, [&]<class T>(T) {
    // A number for each piece, added in order: the same for any number of threads.
    const std::vector<Piece> pieces = pieces_of(arrays, 8192);
    std::vector<double> sums(pieces.size());
    for_pieces(pieces, 1, [&](int64_t i) {
      const auto [array, begin, end] = pieces[i];
      sums[i] = squares(static_cast<const T*>(arrays[array].data) + begin, end - begin);
    });
    std::vector<double> of_array(arrays.size());
    for (size_t i = 0; i < pieces.size(); ++i) of_array[pieces[i].array] += sums[i];
    for (double sum : of_array) total += sum;
  });
  return total;
}

void CpuBackend::adamw(std::span<const AdamWSlot> slots, OptimizerState state, const AdamWStep& step, DType t) {
  const DType acc = accumulator_of(t);
  const bool compact = state != OptimizerState::f32;
  ENSURE(!compact || acc == DType::F32, "[adamw] moments in fewer bits for weights of ", name(t));
  const std::vector<Piece> pieces = pieces_of(slots, 8 * kMomentBlock);
  with_scalar("adamw", acc, [&]<class T>(T) {
    const AdamWRule<T> decaying(step), plain = decaying.without_decay();
    for_pieces(pieces, compact ? kCompactCost : kCost, [&](int64_t i) {
      const auto [array, begin, end] = pieces[i];
      const AdamWSlot& slot = slots[array];
      const AdamWRule<T>& rule = slot.decays ? decaying : plain;
      if constexpr (std::is_same_v<T, float>)
        if (compact) return update_compact(slot, begin, end, state, rule, step.number);
      update(slot, begin, end, rule);
    });
  });
  for (const AdamWSlot& s : slots)
    if (s.weight != s.master) convert(s.weight, s.master, s.n, t, acc);
}

}  // namespace thinker
