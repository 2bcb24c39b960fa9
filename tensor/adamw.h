// The arithmetic of AdamW that the backends share: the rule for one weight, and the moments in 16 or 8 bits.
//
// Both formats round at random, up with a probability in proportion to how close the value above is. Rounding to the
// nearest would lose v: at beta2 = 0.999 a step changes it by a thousandth, and bf16's neighbours are 2^-8 apart. So a
// moment is right on average, and nothing stalls. The random bits depend on step and element only: a resumed run has
// the same.
//
// 8 bits (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861): 256 numbers share an fp32
// scale, their greatest magnitude. A code k has as many leading zeros as its decade lies below the greatest; the bits
// after its first 1 divide the decade evenly:
//   value(k) = 10^(i-D+1) (0.1 + 0.9 (k - 2^i + 0.5) / 2^i) / top,  i = floor(log2 k),  value(0) = 0,
// with D = 7 bits and a sign for m, and D = 8 bits for sqrt(v). The root, not v: it covers the decades that m covers,
// so a weight with a small gradient does not find its v rounded to zero while its m is not, which would be a huge step.
// `top` makes the greatest value 1, so that a block's greatest number is kept as it is.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensor/backend.h"

#ifdef __CUDACC__
#define THINKER_HOST_DEVICE __host__ __device__
#else
#define THINKER_HOST_DEVICE
#endif

namespace thinker {

/// One step's factors, in the type that it is computed in.
template <class T>
struct AdamWRule {
  T b1, rest1, b2, rest2, scale, eps, step, keep, root2;

  explicit AdamWRule(const AdamWStep& s)
      : b1(T(s.beta1)),
        rest1(T(1 - s.beta1)),
        b2(T(s.beta2)),
        rest2(T(1 - s.beta2)),
        scale(T(s.grad_scale)),
        eps(T(s.eps)),
        step(T(s.lr / s.correction1)),
        keep(T(1 - s.lr * s.weight_decay)),
        root2(T(1 / std::sqrt(s.correction2))) {}

  /// The same for a tensor that does not decay.
  THINKER_HOST_DEVICE AdamWRule without_decay() const {
    AdamWRule rule = *this;
    rule.keep = T(1);
    return rule;
  }

  /// m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= lr (m / c1 / (sqrt(v / c2) + eps) + weight_decay w)
  THINKER_HOST_DEVICE void advance(T& w, T& m, T& v, T grad) const {
    const T g = scale * grad;
    m = b1 * m + rest1 * g;
    v = b2 * v + rest2 * g * g;
    w = keep * w - step * m / (std::sqrt(v) * root2 + eps);
  }
};

// ---- random bits ------------------------------------------------------------------------------------------------

/// A permutation of 32-bit words whose output bits depend on all input bits (MurmurHash3's last steps; A. Appleby,
/// public domain).
THINKER_HOST_DEVICE constexpr uint32_t scatter_bits(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

/// 32 random bits for element i of a tensor at a step: 16 for m, 16 for v.
THINKER_HOST_DEVICE constexpr uint32_t rounding_bits(uint32_t step, int64_t i) {
  return scatter_bits(scatter_bits(step + 0x9E3779B9u) ^ static_cast<uint32_t>(i));
}

// ---- 16 bits ----------------------------------------------------------------------------------------------------

/// One of the two bf16 numbers around x; bits (0 to 65535) decides. Infinities and NaN stay.
THINKER_HOST_DEVICE inline bf16 to_bf16_at_random(float x, uint32_t bits) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  const bool finite = (u & 0x7f800000u) != 0x7f800000u, nan = !finite && (u & 0x007fffffu) != 0;
  u = finite ? u + bits : nan ? u | 0x00400000u : u;
  return bf16{static_cast<uint16_t>(u >> 16)};
}

THINKER_HOST_DEVICE inline float from_bf16(bf16 x) {
  const uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &u, sizeof y);
  return y;
}

// ---- 8 bits -----------------------------------------------------------------------------------------------------

constexpr int kMomentBits = 7, kRootBits = 8;  // of m's magnitude, and of sqrt(v)

/// The middle of the uppermost part of the uppermost decade, before all values are divided by it.
THINKER_HOST_DEVICE constexpr float top_value(int bits) {
  const float parts = static_cast<float>(1 << (bits - 1));
  return 0.1f + 0.9f * (parts - 0.5f) / parts;
}

/// value(k) of the header, for k below 2^bits.
THINKER_HOST_DEVICE constexpr float code_value(int bits, int k) {
  if (k == 0) return 0.0f;
  int decade = bits - 1;
  float power = 1.0f;
  for (; (k >> decade) == 0; --decade) power /= 10.0f;
  const float parts = static_cast<float>(1 << decade), part = static_cast<float>(k - (1 << decade));
  return power * (0.1f + 0.9f * (part + 0.5f) / parts) / top_value(bits);
}

/// One of the two codes around x in [0, 1]; bits (0 to 65535) decides. values[k] = code_value(kBits, k). NaN gives 0.
template <int kBits>
THINKER_HOST_DEVICE inline int code_at_random(float x, uint32_t bits, const float* values) {
  constexpr float kTop = top_value(kBits);
  const bool usable = x > 0.0f && x <= 1.0f;
  float scaled = usable ? x * kTop : 0.0f;  // of its decade
  int decade = kBits - 1;
  for (int i = 1; i < kBits; ++i) {
    const bool below = scaled < 0.1f;
    scaled = below ? scaled * 10.0f : scaled;
    decade -= below ? 1 : 0;
  }
  const int parts = 1 << decade;
  const float place = (scaled - 0.1f) / 0.9f * static_cast<float>(parts) - 0.5f;
  const int last = (1 << kBits) - 2, at = parts + static_cast<int>(std::floor(place));
  const int low = at > last ? last : at;
  const float below = values[low], above = values[low + 1];
  const float share = (x - below) / (above - below);
  return usable ? low + (static_cast<float>(bits) < share * 65536.0f ? 1 : 0) : 0;
}

}  // namespace thinker
