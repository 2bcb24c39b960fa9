#include "tensor/quantize.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/check.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace thinker {

namespace {

constexpr int64_t kBlock = 32;

/// Returns whether all numbers could be stored.
bool quantize_block(std::byte* out, const float* x) {
  float most = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < kBlock; ++i) {
    finite &= std::isfinite(x[i]);
    most = std::max(most, std::fabs(x[i]));
  }
  const uint16_t scale = half_not_below(most / 127.0f);
  const float d = half_to_float(scale);
  if (!finite || !std::isfinite(d)) return false;
  std::memcpy(out, &scale, sizeof scale);
  const float inverse = d > 0.0f ? 1.0f / d : 0.0f;
  for (int64_t i = 0; i < kBlock; ++i)
    out[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::nearbyintf(x[i] * inverse)));
  return true;
}

}  // namespace

uint16_t half_not_below(float x) {
  // The inverse of half_to_float: the exponent made 112 smaller, the mantissa cut; then up by one where that was less.
  auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(std::min(x, 65536.0f) * 0x1p-112f) >> 13);
  while (half_to_float(bits) < x && bits < 0x7c00) ++bits;
  return bits;
}

void quantize_q8_0(std::byte* out, const float* in, int64_t n) {
  ENSURE(n % kBlock == 0, n, " numbers are not whole blocks of ", kBlock);
  std::atomic<bool> fine = true;
#pragma omp parallel for schedule(static) if (n >= 100'000)
  for (int64_t b = 0; b < n / kBlock; ++b)
    if (!quantize_block(out + b * bytes_of(DType::Q8_0, kBlock), in + b * kBlock)) fine = false;
  if (!fine) fail("weights that are not finite, or larger than 8 million, cannot be stored in 8 bits; use f32");
}

}  // namespace thinker
