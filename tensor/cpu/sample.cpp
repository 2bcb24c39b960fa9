// Drawing a token: temperature, then top-k, top-p and min-p, without sorting the vocabulary.
//
// All three filters keep a head of the tokens ranked by (weight descending, id ascending), so each is a cut: the last
// token kept. The strictest cut wins. Only two passes see every token: one for the log-sum-exp, one for the weights.
// What follows works on candidates, the few hundred tokens of some weight that the head surely lies in. For top-p they
// fall into buckets by the upper bits of their float pattern (16 buckets an octave); whole buckets are counted off, and
// only the one where the mass is reached is sorted. Without a filter there are no candidates: the token is found among
// all weights, whole blocks of which are counted off.
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

/// A token that may be drawn.
struct Candidate {
  float weight;
  int32_t id;
};

bool ranks_higher(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

/// The stricter of the two: the one whose last token ranks higher.
Cut stricter(const Cut& a, const Cut& b) {
  return a.keeps(b.weight, b.id) ? b : a;
}

/// Tokens of a weight above `floor`, by id.
std::vector<Candidate> above(std::span<const float> w, float floor) {
  constexpr size_t kBlock = 64;
  std::vector<Candidate> found;
  for (size_t i = 0; i < w.size(); i += kBlock) {
    const size_t end = std::min(w.size(), i + kBlock);
    int any = 0;
#pragma omp simd reduction(| : any)
    for (size_t j = i; j < end; ++j) any |= w[j] > floor;
    for (size_t j = i; any && j < end; ++j)
      if (w[j] > floor) found.push_back({w[j], static_cast<int32_t>(j)});
  }
  return found;
}

double mass_of(std::span<const Candidate> candidates) {
  double mass = 0.0;
  for (const Candidate& c : candidates) mass += c.weight;
  return mass;
}

/// Whether top-k cuts anything off `tokens` tokens.
bool cuts_k(const SamplingOptions& options, size_t tokens) {
  return options.top_k > 0 && options.top_k < static_cast<int64_t>(tokens);
}

/// Tokens among which the whole head lies: for top-k at least k, for top-p at least that share of all mass.
std::vector<Candidate> candidates_of(std::span<const float> w, double total, const SamplingOptions& options) {
  const bool by_k = cuts_k(options, w.size());
  for (const float floor : {0x1p-9f, 0x1p-18f}) {
    if (!by_k && options.top_p >= 1.0) break;
    std::vector<Candidate> found = above(w, floor);
    const bool enough =
        by_k ? static_cast<int64_t>(found.size()) >= options.top_k : mass_of(found) >= options.top_p * total;
    if (enough) return found;
  }
  return above(w, 0.0f);
}

Cut top_k_cut(std::vector<Candidate> candidates, int64_t k) {
  std::nth_element(candidates.begin(), candidates.begin() + (k - 1), candidates.end(), ranks_higher);
  return {candidates[k - 1].weight, candidates[k - 1].id};
}

constexpr int kBucketShift = 19;                                // sign and exponent, 4 bits of mantissa
constexpr int64_t kBuckets = (0x3f800000 >> kBucketShift) + 1;  // weights lie in [0, 1]

int64_t bucket_of(float w) {
  return std::bit_cast<int32_t>(w) >> kBucketShift;
}

/// total: the mass that top_p is a share of.
Cut top_p_cut(std::span<const Candidate> candidates, const Cut& kept, double total, double top_p) {
  std::array<double, kBuckets> mass{};
  for (const Candidate& c : candidates) {
    if (kept.keeps(c.weight, c.id)) mass[bucket_of(c.weight)] += c.weight;
  }
  const double wanted = top_p * total;
  double sum = 0.0;
  int64_t bucket = kBuckets - 1;
  while (bucket > 0 && sum + mass[bucket] < wanted) sum += mass[bucket--];
  std::vector<Candidate> last;
  for (const Candidate& c : candidates) {
    if (bucket_of(c.weight) == bucket && kept.keeps(c.weight, c.id)) last.push_back(c);
  }
  std::sort(last.begin(), last.end(), ranks_higher);
  for (const Candidate& c : last) {
    sum += c.weight;
    if (sum >= wanted) return {c.weight, c.id};
  }
  return last.empty() ? kept : Cut{last.back().weight, last.back().id};  // rounding: the whole bucket is needed
}

float greatest(std::span<const float> x) {
  float most = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : most)
  for (size_t i = 0; i < x.size(); ++i) most = x[i] > most ? x[i] : most;  // g++ leaves std::max scalar
  return most;
}

int32_t pick(std::span<const Candidate> candidates, const Cut& cut, double uniform) {
  double total = 0.0;
  for (const Candidate& c : candidates) total += cut.keeps(c.weight, c.id) ? c.weight : 0.0f;
  const double wanted = uniform * total;
  double sum = 0.0;
  int32_t last = cut.id;
  for (const Candidate& c : candidates) {
    if (!cut.keeps(c.weight, c.id)) continue;
    sum += c.weight;
    last = c.id;
    if (sum > wanted) break;
  }
  return last;
}

constexpr size_t kSumBlock = 1024;  // tokens

/// As pick(), of all tokens, and like it in fp64 throughout: a draw is not off by what fp32 sums are.
int32_t pick_unfiltered(std::span<const float> w, double uniform) {
  std::vector<double> masses;
  double total = 0.0;
  for (size_t i = 0; i < w.size(); i += kSumBlock) {
    const size_t end = std::min(w.size(), i + kSumBlock);
    double mass = 0.0;
#pragma omp simd reduction(+ : mass)
    for (size_t j = i; j < end; ++j) mass += w[j];
    masses.push_back(mass);
    total += mass;
  }
  const double wanted = uniform * total;  // less than that: the loop ends in a block with mass
  double sum = 0.0;
  size_t block = 0;
  while (block + 1 < masses.size() && sum + masses[block] <= wanted) sum += masses[block++];
  int32_t last = 0;  // rounding: the block's last, where none passes what is wanted
  for (size_t j = block * kSumBlock; j < std::min(w.size(), (block + 1) * kSumBlock); ++j) {
    if (w[j] == 0.0f) continue;
    sum += w[j];
    last = static_cast<int32_t>(j);
    if (sum > wanted) break;
  }
  return last;
}

/// The sum of exp(x[i] - shift): fp32 sums of a block, fp64 over the blocks.
double sum_of_exponentials(std::span<const float> x, float shift) {
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); i += kSumBlock) {
    const size_t end = std::min(x.size(), i + kSumBlock);
    float part = 0.0f;
#pragma omp simd reduction(+ : part)
    for (size_t j = i; j < end; ++j) part += exp(x[j] - shift);
    sum += part;
  }
  return sum;
}

/// to[i] = exp((x[i] - shift) * factor); returns their sum, made likewise. x and to may be the same.
double exponentials(float* to, std::span<const float> x, float shift, float factor) {
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); i += kSumBlock) {
    const size_t end = std::min(x.size(), i + kSumBlock);
    float part = 0.0f;
#pragma omp simd reduction(+ : part)
    for (size_t j = i; j < end; ++j) {
      const float e = exp((x[j] - shift) * factor);
      to[j] = e;
      part += e;
    }
    sum += part;
  }
  return sum;
}

}  // namespace

DrawnToken sample_row(float* weights, std::span<const float> logits, const SampleRow& row,
                      std::span<const int32_t> end_ids, const SamplingOptions& options) {
  const float most = greatest(logits);
  const double lse = static_cast<double>(most) + std::log(sum_of_exponentials(logits, most));
  if (!std::isfinite(lse)) fail("the model's logits are not finite: its weights are damaged or training diverged");
  auto token = [&](int32_t id) { return DrawnToken{id, static_cast<float>(logits[id] - lse)}; };
  if (row.forced >= 0) return token(row.forced);

  // Weights are relative to the best token that may be drawn: relative to a forbidden one all might underflow.
  const auto v = static_cast<size_t>(std::min(options.drawable, static_cast<int64_t>(logits.size())));
  const std::span<float> w(weights, v);
  std::span<const float> allowed = logits.first(v);
  if (row.end_is_forbidden) {
    std::copy(allowed.begin(), allowed.end(), w.begin());
    for (int32_t id : end_ids)
      if (id < options.drawable) w[id] = -std::numeric_limits<float>::infinity();
    allowed = w;
  }
  const float best = allowed.data() == logits.data() && v == logits.size() ? most : greatest(allowed);
  ENSURE(std::isfinite(best), "every token is forbidden");
  // Compared as logits: the exponentials of neighbours may be equal.
  if (options.greedy) return token(static_cast<int32_t>(std::ranges::find(allowed, best) - allowed.begin()));

  // With an infinite factor the best, at 0 * infinity, would weigh NaN; with the greatest it is as good as greedy.
  constexpr double kMostFactor = std::numeric_limits<float>::max();
  const auto factor = static_cast<float>(std::min(1.0 / options.temperature, kMostFactor));
  const double total = exponentials(weights, allowed, best, factor);
  if (!cuts_k(options, v) && options.top_p >= 1.0 && options.min_p <= 0.0)
    return token(pick_unfiltered(w, row.uniform));
  const std::vector<Candidate> candidates = candidates_of(w, total, options);
  Cut cut{0.0f, static_cast<int32_t>(v)};
  double mass = total;
  if (options.top_k > 0 && options.top_k <= static_cast<int64_t>(candidates.size())) {
    cut = top_k_cut(candidates, options.top_k);
    mass = 0.0;
    for (const Candidate& c : candidates) mass += cut.keeps(c.weight, c.id) ? c.weight : 0.0f;
  }
  if (options.top_p < 1.0) cut = stricter(cut, top_p_cut(candidates, cut, mass, options.top_p));
  // The best weight is 1.
  if (options.min_p > 0.0) cut = stricter(cut, {static_cast<float>(options.min_p), static_cast<int32_t>(v)});
  return token(pick(candidates, cut, row.uniform));
}

}  // namespace thinker::cpu
