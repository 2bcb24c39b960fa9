// Weights in 8 bits, as GGUF's Q8_0 stores them: blocks of 32 numbers x with one fp16 scale d,
//   d >= max |x| / 127,  q = x / d rounded to an integer,  so that |d·q - x| <= d / 2.
// d is rounded up, not to nearest: q then never exceeds 127, and the bound holds down to the smallest numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thinker {

/// The smallest fp16 that is not below x, for finite x >= 0; infinity above 65504.
uint16_t half_not_below(float x);

/// out = n numbers, a multiple of 32, in blocks (bytes_of(DType::Q8_0, n)). Throws Error when a number is not finite or
/// larger than blocks can hold (8.3 million).
void quantize_q8_0(std::byte* out, const float* in, int64_t n);

}  // namespace thinker
