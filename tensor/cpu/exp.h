// exp for the CPU's loops. The float version is branch-free, so that compilers vectorise it: with n = round(x / ln 2),
//   exp(x) = 2^n exp(x - n ln 2),
// where the rest lies within +-ln(2)/2 and a Taylor polynomial of degree 7 is exact to float rounding. Error: below
// 2 ulp (measured by tests/tensor/token_logprob.cpp). exp(-inf) = 0, exp(inf) = inf, NaN stays NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace thinker::cpu {

inline double exp(double x) {
  return std::exp(x);
}

inline float exp(float x) {
  // Adding 1.5 * 2^23 rounds to an integer, and leaves that integer in the low bits.
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  // ln 2 in two parts: the first has few bits, so that n times it is exact.
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n in two factors: n may lie outside of a float's exponents where the result is inf or denormal.
  const uint32_t i = std::bit_cast<uint32_t>(shifted) - 0x4B400000u;
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(i) >> 1);
  const float e = p * std::bit_cast<float>((half + 127u) << 23) * std::bit_cast<float>((i - half + 127u) << 23);
  // Beyond these the result is 0 or inf; NaN, which compares false, is e. By bits: of a condition on x g++ makes three
  // copies of what follows the exponential, and runs all.
  const uint32_t small = -static_cast<uint32_t>(x < -104.5f), large = -static_cast<uint32_t>(x > 89.0f);
  return std::bit_cast<float>((std::bit_cast<uint32_t>(e) & ~(small | large)) | (large & 0x7f800000u));
}

}  // namespace thinker::cpu
