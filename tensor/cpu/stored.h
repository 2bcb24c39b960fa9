// Weights stored as BF16 or as GGUF's blocks (tensor/dequantize.h), widened to fp32 in registers, 32 numbers at a time.
// The values are exactly those that dequantize() gives: a product d·q has no rounding, so that it is the same whether
// the compiler fuses it with the addition of m or not.
//
// Each type is a struct with
//   kBytes                    of 32 numbers
//   widen(w, p)               w = the 32 numbers at p
//   widen_shuffled(w, p)      BFloat16 alone: the same numbers with fewer instructions, in another order
//   shuffle(to, from, k)      BFloat16 alone: a row of a in that order
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__) || defined(__F16C__)
#include <immintrin.h>
#endif

#include "tensor/cpu/product.h"
#include "tensor/dequantize.h"

namespace thinker::stored {

constexpr int64_t kNumbers = 32;
constexpr int64_t kMostRows = 32;                   // of a: more are multiplied by the weight widened first
constexpr int kVectors = kNumbers / kLanes<float>;  // registers of 32 numbers

/// k, rounded up to whole kNumbers.
constexpr int64_t padded(int64_t k) {
  return (k + kNumbers - 1) / kNumbers * kNumbers;
}

/// Calls part<R>(i) for rows i to i + R of m: `Most` at a time, whose sums fit into registers, then 4, 2 and 1.
template <int Most, class Part>
inline void for_rows_together(int64_t m, const Part& part) {
  int64_t i = 0;
  for (; i + Most <= m; i += Most) part.template operator()<Most>(i);
  if constexpr (Most > 4)
    if (m - i >= 4) part.template operator()<4>(i), i += 4;
  if (m - i >= 2) part.template operator()<2>(i), i += 2;
  if (m - i >= 1) part.template operator()<1>(i);
}

/// 32 numbers in registers.
using Widened = Vector<float>[kVectors];

typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));

inline Vector<float> to_floats(Integers x) {
  return __builtin_convertvector(x, Vector<float>);
}

// g++ 12 takes vectors of bytes apart one by one: the widening loads are written as instructions. (With a mask of all
// lanes, because it takes the definition of the form without one for an uninitialised variable: GCC bug 105593.)

/// As many bytes as a vector has lanes.
inline Integers load_bytes(const std::byte* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<Integers>(
      _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return reinterpret_cast<Integers>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Integers x;
  for (int i = 0; i < kLanes<float>; ++i) x[i] = static_cast<uint8_t>(p[i]);
  return x;
#endif
}

inline Integers load_signed_bytes(const std::byte* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<Integers>(
      _mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return reinterpret_cast<Integers>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Integers x;
  for (int i = 0; i < kLanes<float>; ++i) x[i] = static_cast<int8_t>(p[i]);
  return x;
#endif
}

inline float load_half(const std::byte* p) {
#if defined(__F16C__)
  return _cvtsh_ss(load_unaligned<uint16_t>(p));
#else
  return half_to_float(load_unaligned<uint16_t>(p));
#endif
}

#if defined(__AVX512F__)
constexpr Vector<float> kCount = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#endif

/// w = d·q + m for 32 four-bit numbers q: the low halves of 16 bytes, then the high ones. d and m are floats, or
/// vectors with one float in all lanes.
inline void widen_nibbles(Widened& w, const std::byte* p, auto d, auto m) {
#if defined(__AVX512F__)
  // A look-up by the low four bits of each lane in all that d·q + m can be: faster than converting each.
  const Vector<float> all = kCount * d + m;
  const Integers q = load_bytes(p);
  w[0] = __builtin_shuffle(all, q);
  w[1] = __builtin_shuffle(all, q >> 4);
#else
  for (int i = 0; i < kVectors / 2; ++i) {
    const Integers q = load_bytes(p + i * kLanes<float>);
    w[i] = to_floats(q & 15) * d + m;
    w[i + kVectors / 2] = to_floats(q >> 4) * d + m;
  }
#endif
}

struct Q4_0 {
  static constexpr int64_t kBytes = 18;
  static void widen(Widened& w, const std::byte* p) {
    const float d = load_half(p);
    widen_nibbles(w, p + 2, d, -8.0f * d);
  }
};

struct Q4_1 {
  static constexpr int64_t kBytes = 20;
  static void widen(Widened& w, const std::byte* p) {
#if defined(__AVX512F__) && defined(__F16C__)
    // d and m with one conversion: the busiest port has a fifth less to do.
    const auto both = reinterpret_cast<Vector<float>>(_mm512_castps128_ps512(_mm_cvtph_ps(_mm_loadu_si32(p))));
    widen_nibbles(w, p + 4, __builtin_shuffle(both, Integers{}), __builtin_shuffle(both, Integers{} + 1));
#else
    widen_nibbles(w, p + 4, load_half(p), load_half(p + 2));
#endif
  }
};

struct Q8_0 {
  static constexpr int64_t kBytes = 34;
  static void widen(Widened& w, const std::byte* p) {
    const float d = load_half(p);
    for (int i = 0; i < kVectors; ++i) w[i] = to_floats(load_signed_bytes(p + 2 + i * kLanes<float>)) * d;
  }
};

struct BFloat16 {
  static constexpr int64_t kBytes = 64;
  typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));

  static void widen(Widened& w, const std::byte* p) {
    // An fp32 whose upper half this is.
    typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
    for (int i = 0; i < kVectors; ++i) {
      Halves h;
      std::memcpy(&h, p + i * static_cast<int>(sizeof h), sizeof h);
      w[i] = reinterpret_cast<Vector<float>>(__builtin_convertvector(h, Words) << 16);
    }
  }

  /// A register's even numbers, then its odd ones.
  static void widen_shuffled(Widened& w, const std::byte* p) {
    for (int i = 0; i < kVectors; i += 2) {
      Words both;
      std::memcpy(&both, p + i * (kVectorBytes / 2), sizeof both);
      w[i] = reinterpret_cast<Vector<float>>(both << 16);
      w[i + 1] = reinterpret_cast<Vector<float>>(both & 0xffff0000u);
    }
  }

  /// to (padded(k)) = from (k) in the order of widen_shuffled, and zeros.
  static void shuffle(float* to, const float* from, int64_t k) {
    constexpr int64_t kLane = kLanes<float>;
    int64_t j = 0;
    for (; j + 2 * kLane <= k; j += 2 * kLane)
      for (int64_t i = 0; i < kLane; ++i) {
        to[j + i] = from[j + 2 * i];
        to[j + kLane + i] = from[j + 2 * i + 1];
      }
    std::fill(to + j, to + padded(k), 0.0f);
    for (int64_t i = 0; j + i < k; ++i) to[j + i / 2 + i % 2 * kLane] = from[j + i];
  }
};

/// The numbers of kNumbers at p in the order in which products want them.
template <class Format>
inline void widen_for_product(Widened& w, const std::byte* p) {
  if constexpr (std::is_same_v<Format, BFloat16>)
    Format::widen_shuffled(w, p);
  else
    Format::widen(w, p);
}

/// widen, as a function of w and a place in memory, of the next kNumbers numbers of a row, or of `left` at its end
/// (BFloat16 alone: blocks are whole); the rest becomes zero.
template <class Format, class Widen>
inline void widen_part(Widened& w, const std::byte* p, int64_t left, const Widen& widen) {
  if (left >= kNumbers) return widen(w, p);
  std::array<std::byte, Format::kBytes> whole{};
  std::memcpy(whole.data(), p, left * Format::kBytes / kNumbers);
  widen(w, whole.data());
}

/// The rows of a weight, k numbers each, as they lie.
struct StoredRows {
  const std::byte* first;
  int64_t k, row_bytes;

  const std::byte* row(int64_t j) const { return first + j * row_bytes; }
};

}  // namespace thinker::stored
