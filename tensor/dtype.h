// Element types. F32 is the default everywhere; F64 exists for gradient checks; BF16 for storage and for CUDA;
// I32 for token ids, positions and row indices. Q4_0, Q4_1 and Q8_0 are rows of blocks as GGUF files hold them
// (tensor/dequantize.h): weights that are only read, in an order of the device's own (Backend::store_weight).
#pragma once

#include <bit>
#include <cstdint>

#include "tensor/check.h"

namespace thinker {

enum class DType { F32, F64, BF16, I32, Q4_0, Q4_1, Q8_0 };

/// A brain float: the upper half of an fp32. Storage only; arithmetic happens in fp32.
struct bf16 {
  uint16_t bits;
};

inline float to_float(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// Rounds to nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return bf16{static_cast<uint16_t>((u >> 16) | 0x40u)};
  return bf16{static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// Numbers that are stored together: 1, or those of a block.
inline int64_t block_elements(DType t) {
  return t == DType::Q4_0 || t == DType::Q4_1 || t == DType::Q8_0 ? 32 : 1;
}

/// Bytes of `n` elements, a whole number of blocks.
inline int64_t bytes_of(DType t, int64_t n) {
  switch (t) {
    case DType::F64: return 8 * n;
    case DType::BF16: return 2 * n;
    case DType::F32:
    case DType::I32: return 4 * n;
    case DType::Q4_0: return n / 32 * 18;
    case DType::Q4_1: return n / 32 * 20;
    case DType::Q8_0: return n / 32 * 34;
  }
  fail("unknown dtype ", static_cast<int>(t));
}

/// Bytes of one element of a type that is not stored in blocks.
inline int64_t size_of(DType t) {
  ENSURE(block_elements(t) == 1, "an element of a block has no size of its own");
  return bytes_of(t, 1);
}

inline const char* name(DType t) {
  switch (t) {
    case DType::F32: return "F32";
    case DType::F64: return "F64";
    case DType::BF16: return "BF16";
    case DType::I32: return "I32";
    case DType::Q4_0: return "Q4_0";
    case DType::Q4_1: return "Q4_1";
    case DType::Q8_0: return "Q8_0";
  }
  return "?";
}

/// The type in which reductions, statistics, log-probs and parameter gradients of `t` are kept: F64 for F64, else F32.
inline DType accumulator_of(DType t) {
  return t == DType::F64 ? DType::F64 : DType::F32;
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::F32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::F64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::BF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::I32;
};

}  // namespace thinker
