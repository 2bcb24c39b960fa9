// Drawing a token: temperature, then top-k, top-p and min-p, without sorting the vocabulary.
//
// All three filters keep a head of the tokens ranked by (weight descending, id ascending), so each is a cut: the last
// token kept. The strictest cut wins. For top-p the weights fall into buckets by the upper bits of their float pattern
// (16 buckets an octave); whole buckets are counted off, and only the one where the mass is reached is sorted.
#include "tensor/cpu/sample.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/cpu/exp.h"

namespace thinker::cpu {

namespace {

/// The last token kept in the ranking; a token is kept when it ranks no lower.
struct Cut {
  float weight;
  int32_t id;
  bool keeps(float w, int32_t i) const { return w > weight || (w == weight && i <= id); }
};

constexpr int kBucketShift = 19;                                // sign and exponent, 4 bits of mantissa
constexpr int64_t kBuckets = (0x3f800000 >> kBucketShift) + 1;  // weights lie in [0, 1]

int64_t bucket_of(float w) {
  return std::bit_cast<int32_t>(w) >> kBucketShift;
}

/// The stricter of the two: the one whose last token ranks higher.
Cut stricter(const Cut& a, const Cut& b) {
  return a.keeps(b.weight, b.id) ? b : a;
}

Cut top_k_cut(std::span<const float> w, int64_t k) {
  std::vector<int32_t> ids(w.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  auto ranks_higher = [&](int32_t a, int32_t b) { return w[a] != w[b] ? w[a] > w[b] : a < b; };
  std::nth_element(ids.begin(), ids.begin() + (k - 1), ids.end(), ranks_higher);
  return {w[ids[k - 1]], ids[k - 1]};
}

Cut top_p_cut(std::span<const float> w, const Cut& kept, double top_p) {
  std::array<double, kBuckets> mass{};
  const auto v = static_cast<int32_t>(w.size());
  double total = 0.0;
  for (int32_t i = 0; i < v; ++i) {
    if (w[i] > 0.0f && kept.keeps(w[i], i)) mass[bucket_of(w[i])] += w[i];
  }
  for (int64_t b = kBuckets - 1; b >= 0; --b) total += mass[b];
  const double wanted = top_p * total;
  double sum = 0.0;
  int64_t bucket = kBuckets - 1;
  while (bucket > 0 && sum + mass[bucket] < wanted) sum += mass[bucket--];
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < v; ++i) {
    if (w[i] > 0.0f && bucket_of(w[i]) == bucket && kept.keeps(w[i], i)) ids.push_back(i);
  }
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return w[a] != w[b] ? w[a] > w[b] : a < b; });
  for (int32_t i : ids) {
    sum += w[i];
    if (sum >= wanted) return {w[i], i};
  }
  return ids.empty() ? kept : Cut{w[ids.back()], ids.back()};  // rounding: the whole bucket is needed
}

float greatest(std::span<const float> x) {
  float most = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : most)
  for (size_t i = 0; i < x.size(); ++i) most = std::max(most, x[i]);
  return most;
}

int32_t pick(std::span<const float> w, const Cut& cut, double uniform) {
  const auto v = static_cast<int32_t>(w.size());
  double total = 0.0;
  for (int32_t i = 0; i < v; ++i) total += cut.keeps(w[i], i) ? w[i] : 0.0f;
  const double wanted = uniform * total;
  double sum = 0.0;
  int32_t last = cut.id;
  for (int32_t i = 0; i < v; ++i) {
    if (w[i] <= 0.0f || !cut.keeps(w[i], i)) continue;
    sum += w[i];
    last = i;
    if (sum > wanted) break;
  }
  return last;
}

double log_sum_exp(std::span<const float> logits, float max) {
  constexpr size_t kBlock = 1024;  // fp32 sums of a block, fp64 over the blocks
  double sum = 0.0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    const size_t n = std::min(kBlock, logits.size() - i);
    float part = 0.0f;
#pragma omp simd reduction(+ : part)
    for (size_t j = 0; j < n; ++j) part += exp(logits[i + j] - max);
    sum += part;
  }
  return static_cast<double>(max) + std::log(sum);
}

}  // namespace

DrawnToken sample_row(float* weights, std::span<const float> logits, const SampleRow& row,
                      std::span<const int32_t> end_ids, const SamplingOptions& options) {
  const size_t v = logits.size();
  const double lse = log_sum_exp(logits, greatest(logits));
  if (!std::isfinite(lse)) fail("the model's logits are not finite: its weights are damaged or training diverged");
  auto token = [&](int32_t id) { return DrawnToken{id, static_cast<float>(logits[id] - lse)}; };
  if (row.forced >= 0) return token(row.forced);

  // Weights are relative to the best token that may be drawn: relative to a forbidden one all might underflow.
  const std::span<float> w(weights, v);
  std::copy(logits.begin(), logits.end(), w.begin());
  if (row.end_is_forbidden) {
    for (int32_t id : end_ids) w[id] = -std::numeric_limits<float>::infinity();
  }
  const float best = greatest(w);
  ENSURE(std::isfinite(best), "every token is forbidden");
  // Compared as logits: the exponentials of neighbours may be equal.
  if (options.greedy) return token(static_cast<int32_t>(std::find(w.begin(), w.end(), best) - w.begin()));

  const auto inverse_temperature = static_cast<float>(1.0 / options.temperature);
#pragma omp simd
  for (size_t i = 0; i < v; ++i) w[i] = exp((w[i] - best) * inverse_temperature);

  Cut cut{0.0f, static_cast<int32_t>(v)};
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(v)) cut = top_k_cut(w, options.top_k);
  if (options.top_p < 1.0) cut = stricter(cut, top_p_cut(w, cut, options.top_p));
  // The best weight is 1.
  if (options.min_p > 0.0) cut = stricter(cut, {static_cast<float>(options.min_p), static_cast<int32_t>(v)});
  return token(pick(w, cut, row.uniform));
}

}  // namespace thinker::cpu
