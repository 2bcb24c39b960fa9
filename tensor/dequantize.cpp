#include "tensor/dequantize.h"

#include <array>

#include "tensor/check.h"
#include "tensor/dtype.h"

namespace thinker {
namespace {

static_assert(std::endian::native == std::endian::little, "file data is little-endian and read in place");

constexpr int kBlock = 32;   // elements of a block of the simple types
constexpr int kSuper = 256;  // elements of a block of the K types

uint8_t byte_at(const std::byte* p, int i) {
  return static_cast<uint8_t>(p[i]);
}
int8_t signed_at(const std::byte* p, int i) {
  return static_cast<int8_t>(p[i]);
}
float half_at(const std::byte* p) {
  return half_to_float(load_unaligned<uint16_t>(p));
}

// One function per type: one block at `in` to its elements at `out`. The layout is written as (name bytes, …).

// (d 2, q 32 x int8): x = d·q
void q8_0(float* out, const std::byte* in) {
  const float d = half_at(in);
  for (int i = 0; i < kBlock; ++i) out[i] = d * static_cast<float>(signed_at(in + 2, i));
}

// (d 2, q 16): the low halves of the bytes are elements 0 to 15, the high halves 16 to 31. x = d·(q - 8)
void q4_0(float* out, const std::byte* in) {
  const float d = half_at(in);
  for (int i = 0; i < kBlock / 2; ++i) {
    const int q = byte_at(in + 2, i);
    out[i] = d * static_cast<float>((q & 15) - 8);
    out[i + kBlock / 2] = d * static_cast<float>((q >> 4) - 8);
  }
}

// (d 2, m 2, q 16): x = d·q + m
void q4_1(float* out, const std::byte* in) {
  const float d = half_at(in), m = half_at(in + 2);
  for (int i = 0; i < kBlock / 2; ++i) {
    const int q = byte_at(in + 4, i);
    out[i] = d * static_cast<float>(q & 15) + m;
    out[i + kBlock / 2] = d * static_cast<float>(q >> 4) + m;
  }
}

/// Element i of 32 five-bit numbers: the low four bits packed as in Q4_0, the fifth as bit i of `high`.
int five_bits(const std::byte* low, uint32_t high, int i) {
  const int q = i < kBlock / 2 ? byte_at(low, i) & 15 : byte_at(low, i - kBlock / 2) >> 4;
  return q | static_cast<int>((high >> i & 1u) << 4);
}

// (d 2, fifth bits 4, q 16): x = d·(q - 16)
void q5_0(float* out, const std::byte* in) {
  const float d = half_at(in);
  const uint32_t high = load_unaligned<uint32_t>(in + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = d * static_cast<float>(five_bits(in + 6, high, i) - 16);
}

// (d 2, m 2, fifth bits 4, q 16): x = d·q + m
void q5_1(float* out, const std::byte* in) {
  const float d = half_at(in), m = half_at(in + 2);
  const uint32_t high = load_unaligned<uint32_t>(in + 4);
  for (int i = 0; i < kBlock; ++i) out[i] = d * static_cast<float>(five_bits(in + 8, high, i)) + m;
}

struct SubBlock {
  float scale, min;
};

/// Q4_K and Q5_K begin with (d 2, dmin 2, scales 12): eight 6-bit scales and eight 6-bit mins, one pair for each
/// sub-block of 32. Pairs 0 to 3 lie in the low six bits of bytes j and j + 4. Pairs 4 to 7 have their low four bits
/// in byte j + 4 (scale in the low half, min in the high) and borrow the two top bits of bytes j - 4 and j.
SubBlock sub_block(const std::byte* in, int j) {
  const std::byte* s = in + 4;
  int scale, min;
  if (j < 4) {
    scale = byte_at(s, j) & 63;
    min = byte_at(s, j + 4) & 63;
  } else {
    scale = (byte_at(s, j + 4) & 15) | (byte_at(s, j - 4) >> 6 << 4);
    min = (byte_at(s, j + 4) >> 4) | (byte_at(s, j) >> 6 << 4);
  }
  return {half_at(in) * static_cast<float>(scale), half_at(in + 2) * static_cast<float>(min)};
}

// (d 2, dmin 2, scales 12, q 128): 32 bytes of q hold two sub-blocks, the first in the low halves.
void q4_k(float* out, const std::byte* in) {
  for (int j = 0; j < 8; ++j) {
    const SubBlock sub = sub_block(in, j);
    const std::byte* q = in + 16 + j / 2 * 32;
    const int shift = j % 2 * 4;
    for (int i = 0; i < 32; ++i)
      out[j * 32 + i] = sub.scale * static_cast<float>(byte_at(q, i) >> shift & 15) - sub.min;
  }
}

// (d 2, dmin 2, scales 12, fifth bits 32, q 128): as Q4_K; bit j of byte i is the fifth bit of element i of sub-block
// j.
void q5_k(float* out, const std::byte* in) {
  for (int j = 0; j < 8; ++j) {
    const SubBlock sub = sub_block(in, j);
    const std::byte* high = in + 16;
    const std::byte* q = in + 48 + j / 2 * 32;
    const int shift = j % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int value = (byte_at(q, i) >> shift & 15) | (byte_at(high, i) >> j & 1) << 4;
      out[j * 32 + i] = sub.scale * static_cast<float>(value) - sub.min;
    }
  }
}

// (q 128, upper bits 64, scales 16 x int8, d 2): x = (d·scale)·(q - 32), a scale for each 16 elements. Groups of 32
// elements: of the four in one half of the block, 0 and 1 lie in the low halves of 64 bytes of q, 2 and 3 in the high
// ones; their two upper bits share 32 bytes, the group's number giving the place.
void q6_k(float* out, const std::byte* in) {
  const float d = half_at(in + 208);
  for (int j = 0; j < 8; ++j) {
    const int half = j / 4, group = j % 4;
    const std::byte* q = in + half * 64 + group % 2 * 32;
    const std::byte* upper = in + 128 + half * 32;
    for (int i = 0; i < 32; ++i) {
      const int value = (byte_at(q, i) >> (group / 2 * 4) & 15) | (byte_at(upper, i) >> (group * 2) & 3) << 4;
      const float scale = d * static_cast<float>(signed_at(in + 192, j * 2 + i / 16));
      out[j * 32 + i] = scale * static_cast<float>(value - 32);
    }
  }
}

void f32(float* out, const std::byte* in) {
  *out = load_unaligned<float>(in);
}
void f16(float* out, const std::byte* in) {
  *out = half_at(in);
}
void brain(float* out, const std::byte* in) {
  *out = to_float(load_unaligned<bf16>(in));
}

struct Traits {
  GgmlType type;
  const char* name;
  int64_t elements, bytes;  // of one block
  bool supported;
};

constexpr std::array kTraits = {
    Traits{GgmlType::F32, "F32", 1, 4, true},
    Traits{GgmlType::F16, "F16", 1, 2, true},
    Traits{GgmlType::BF16, "BF16", 1, 2, true},
    Traits{GgmlType::Q4_0, "Q4_0", kBlock, 18, true},
    Traits{GgmlType::Q4_1, "Q4_1", kBlock, 20, true},
    Traits{GgmlType::Q5_0, "Q5_0", kBlock, 22, true},
    Traits{GgmlType::Q5_1, "Q5_1", kBlock, 24, true},
    Traits{GgmlType::Q8_0, "Q8_0", kBlock, 34, true},
    Traits{GgmlType::Q4_K, "Q4_K", kSuper, 144, true},
    Traits{GgmlType::Q5_K, "Q5_K", kSuper, 176, true},
    Traits{GgmlType::Q6_K, "Q6_K", kSuper, 210, true},
    Traits{GgmlType::Q8_1, "Q8_1", kBlock, 36, false},
    Traits{GgmlType::Q2_K, "Q2_K", kSuper, 84, false},
    Traits{GgmlType::Q3_K, "Q3_K", kSuper, 110, false},
    Traits{GgmlType::Q8_K, "Q8_K", kSuper, 292, false},
    Traits{GgmlType::IQ2_XXS, "IQ2_XXS", kSuper, 66, false},
    Traits{GgmlType::IQ2_XS, "IQ2_XS", kSuper, 74, false},
    Traits{GgmlType::IQ3_XXS, "IQ3_XXS", kSuper, 98, false},
    Traits{GgmlType::IQ1_S, "IQ1_S", kSuper, 50, false},
    Traits{GgmlType::IQ4_NL, "IQ4_NL", kBlock, 18, false},
    Traits{GgmlType::IQ3_S, "IQ3_S", kSuper, 110, false},
    Traits{GgmlType::IQ2_S, "IQ2_S", kSuper, 82, false},
    Traits{GgmlType::IQ4_XS, "IQ4_XS", kSuper, 136, false},
    Traits{GgmlType::I8, "I8", 1, 1, false},
    Traits{GgmlType::I16, "I16", 1, 2, false},
    Traits{GgmlType::I32, "I32", 1, 4, false},
    Traits{GgmlType::I64, "I64", 1, 8, false},
    Traits{GgmlType::F64, "F64", 1, 8, false},
    Traits{GgmlType::IQ1_M, "IQ1_M", kSuper, 56, false},
    Traits{GgmlType::TQ1_0, "TQ1_0", kSuper, 54, false},
    Traits{GgmlType::TQ2_0, "TQ2_0", kSuper, 66, false},
    Traits{GgmlType::MXFP4, "MXFP4", kBlock, 17, false},
    Traits{GgmlType::NVFP4, "NVFP4", 64, 36, false},
    Traits{GgmlType::Q1_0, "Q1_0", 128, 18, false},
};

constexpr const Traits& traits(GgmlType type) {
  for (const Traits& t : kTraits)
    if (t.type == type) return t;
  fail("unknown GGUF element type ", static_cast<uint32_t>(type));
}

using BlockFunction = void(float* out, const std::byte* in);

/// Runs one block function over n elements. Type and function are template arguments so that the compiler knows the
/// strides and turns the plain types into one vectorised loop.
template <GgmlType type, BlockFunction* function>
void all_blocks(float* out, const std::byte* in, int64_t n) {
  constexpr int64_t elements = traits(type).elements, bytes = traits(type).bytes;
  const int64_t blocks = n / elements;
  // Below about a hundred thousand elements, starting threads costs more than it saves.
#pragma omp parallel for schedule(static) if (n >= 100'000)
  for (int64_t b = 0; b < blocks; ++b) function(out + b * elements, in + b * bytes);
}

}  // namespace

std::optional<GgmlType> ggml_type(uint32_t number) {
  for (const Traits& t : kTraits)
    if (static_cast<uint32_t>(t.type) == number) return t.type;
  return std::nullopt;
}

const char* name(GgmlType type) {
  return traits(type).name;
}
int64_t block_elements(GgmlType type) {
  return traits(type).elements;
}
int64_t block_bytes(GgmlType type) {
  return traits(type).bytes;
}
bool can_dequantize(GgmlType type) {
  return traits(type).supported;
}

std::string dequantizable_types() {
  std::string list;
  for (const Traits& t : kTraits)
    if (t.supported) list += (list.empty() ? "" : ", ") + std::string(t.name);
  return list;
}

void dequantize(float* out, const std::byte* in, int64_t n, GgmlType type) {
  const Traits& t = traits(type);
  ENSURE(n >= 0 && n % t.elements == 0, n, " elements are not whole blocks of ", t.name, " (", t.elements, ")");
  switch (type) {
    case GgmlType::F32: return all_blocks<GgmlType::F32, f32>(out, in, n);
    case GgmlType::F16: return all_blocks<GgmlType::F16, f16>(out, in, n);
    case GgmlType::BF16: return all_blocks<GgmlType::BF16, brain>(out, in, n);
    case GgmlType::Q4_0: return all_blocks<GgmlType::Q4_0, q4_0>(out, in, n);
    case GgmlType::Q4_1: return all_blocks<GgmlType::Q4_1, q4_1>(out, in, n);
    case GgmlType::Q5_0: return all_blocks<GgmlType::Q5_0, q5_0>(out, in, n);
    case GgmlType::Q5_1: return all_blocks<GgmlType::Q5_1, q5_1>(out, in, n);
    case GgmlType::Q8_0: return all_blocks<GgmlType::Q8_0, q8_0>(out, in, n);
    case GgmlType::Q4_K: return all_blocks<GgmlType::Q4_K, q4_k>(out, in, n);
    case GgmlType::Q5_K: return all_blocks<GgmlType::Q5_K, q5_k>(out, in, n);
    case GgmlType::Q6_K: return all_blocks<GgmlType::Q6_K, q6_k>(out, in, n);
    default: fail("element type ", t.name, " is not supported; supported are ", dequantizable_types());
  }
}

}  // namespace thinker
