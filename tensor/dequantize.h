// The element types of GGUF files, and turning their blocks into fp32.
//
// A quantised row is a sequence of blocks; a block holds a fixed number of elements as small integers q and one or two
// fp16 numbers that scale them. Q4_0, Q5_0, Q8_0: x = d·q. Q4_1, Q5_1: x = d·q + m. The "K" types divide a block of 256
// into sub-blocks with small integer scales of their own: x = (d·scale)·q - (dmin·min).
//
// Why the results are exact, bit for bit, on every machine and with or without fused multiply-add: an fp16 has 11
// significant bits, a scale at most 7, a q at most 8, and no type multiplies to more than the 24 bits of an fp32. So
// all products are exact and only the one final addition, if any, rounds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace thinker {

/// Element types by their number in a file (ggml's `enum ggml_type`). Those that dequantize() reads are marked *.
enum class GgmlType : uint32_t {
  F32 = 0,   // *
  F16 = 1,   // *
  Q4_0 = 2,  // *
  Q4_1 = 3,  // *
  Q5_0 = 6,  // *
  Q5_1 = 7,  // *
  Q8_0 = 8,  // *
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,  // *
  Q5_K = 13,  // *
  Q6_K = 14,  // *
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,  // *
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
  NVFP4 = 40,
  Q1_0 = 41,
};

/// The type with this number, or nothing when there is none that we know.
std::optional<GgmlType> ggml_type(uint32_t number);

/// "Q4_K"
const char* name(GgmlType type);

/// Elements in one block: 1 for plain types. Rows are whole blocks.
int64_t block_elements(GgmlType type);

/// Bytes of one block.
int64_t block_bytes(GgmlType type);

/// Whether dequantize() reads the type.
bool can_dequantize(GgmlType type);

/// The types that dequantize() reads, for error messages: "F32, F16, …".
std::string dequantizable_types();

/// out (n) = the n elements at `in`, which holds n / block_elements · block_bytes bytes of any alignment. n is a
/// multiple of block_elements. Large n is divided among the threads; the result does not depend on how. Throws Error
/// for a type that is not supported, by its name.
void dequantize(float* out, const std::byte* in, int64_t n, GgmlType type);

/// fp16 to fp32, exact, subnormals, infinities and NaN included.
inline float half_to_float(uint16_t bits) {
  // Moved to fp32's places, the exponent is 112 too small (bias 15 against 127): one exact product mends normal and
  // subnormal numbers alike. Infinity and NaN need fp32's largest exponent instead.
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t finite = std::bit_cast<uint32_t>(scaled);
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  return std::bit_cast<float>(((bits & 0x7c00u) == 0x7c00u ? special : finite) | sign);
}

/// Reads a T at any alignment.
template <class T>
T load_unaligned(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace thinker
