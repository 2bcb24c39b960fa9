// Element types. F32 is the default everywhere; F64 exists for gradient checks; BF16 for storage and for CUDA;
// I32 for token ids, positions and row indices.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "tensor/check.h"

namespace thinker {

enum class DType { F32, F64, BF16, I32 };

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

/// Bytes of one element.
inline int64_t size_of(DType t) {
  switch (t) {
    case DType::F64: return 8;
    case DType::BF16: return 2;
    case DType::F32:
    case DType::I32: return 4;
  }
  fail("unknown dtype ", static_cast<int>(t));
}

inline const char* name(DType t) {
  switch (t) {
    case DType::F32: return "F32";
    case DType::F64: return "F64";
    case DType::BF16: return "BF16";
    case DType::I32: return "I32";
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
