// Weights in blocks (stored_groups.h) as integers with AVX-512 VNNI: an instruction adds four products of bytes to each
// lane, and takes one of their factors without a sign. Activations have three digits of 8 bits.
#pragma once

#include <cstring>

#include "tensor/cpu/stored_groups.h"

#if defined(THINKER_INTEGERS_VNNI)

namespace thinker::stored {

constexpr __mmask16 kAllLanes = 0xffff;

inline void to_integers(IntegerBlock& to, const float* from) {
  constexpr int64_t kLane = kLanes<float>;
  const Vector<float> x[2] = {load(from), load(from + kLane)};
  const float inverse = scale_integers(to, x);
  if (std::isnan(inverse)) return;
  Integers left[2], sums[3];
  for (int half = 0; half < 2; ++half)
    left[half] =
        reinterpret_cast<Integers>(_mm512_maskz_cvtps_epi32(kAllLanes, reinterpret_cast<__m512>(x[half] * inverse)));
#pragma GCC unroll 3
  for (int p = 2; p >= 0; --p) {
    for (int half = 0; half < 2; ++half) {
      const __m128i digits = _mm512_maskz_cvtepi32_epi8(kAllLanes, reinterpret_cast<__m512i>(left[half]));
      std::memcpy(to.digits[p] + half * kLane, &digits, sizeof digits);
    }
    const Integers above[2] = {(left[0] + 128) >> 8, (left[1] + 128) >> 8};
    sums[p] = left[0] + left[1] - 256 * (above[0] + above[1]);
    left[0] = above[0];
    left[1] = above[1];
  }
  to.zeros[0] = -128 * sum_of(256 * sums[0] + sums[1]);
  to.zeros[1] = -128 * sum_of(sums[2]);
}

/// products[g][i][lane r] = the integers of row r of group g times those of x[i * stride], whose scale is not applied
/// yet. words: the groups' bytes, four numbers each. Sums of several rows and groups, since each waits for its own
/// last.
template <class Format, int G, int R>
inline void multiply_integers(Vector<float> (&products)[G][R], const __m512i (&words)[G][8], const IntegerBlock* x,
                              int64_t stride) {
  constexpr int32_t kZero = BlockParts<Format>::kZero;
  const auto start = [](int32_t zeros) {
    if constexpr (kZero == 0)
      return __m512i{};
    else
      return _mm512_set1_epi32(zeros / (128 / kZero));
  };
  __m512i sum[G][R][3];
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i) {
      sum[g][i][0] = __m512i{};
      for (int p = 0; p < 2; ++p) sum[g][i][p + 1] = start(x[i * stride].zeros[p]);
    }
#pragma GCC unroll 8
  for (int word = 0; word < 8; ++word)
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
      for (int p = 0; p < 3; ++p) {
        const auto* digits = reinterpret_cast<const std::byte*>(x[i * stride].digits[p]);
        const __m512i four = _mm512_set1_epi32(load_unaligned<int32_t>(digits + 4 * word));
#pragma GCC unroll 2
        for (int g = 0; g < G; ++g) sum[g][i][p] = _mm512_dpbusd_epi32(sum[g][i][p], words[g][word], four);
      }
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i) {
      const auto of_digit = [&](int p) { return reinterpret_cast<Integers>(sum[g][i][p]); };
      // |of_digit(0)| < 2^20, |of_digit(1)| < 2^28.
      products[g][i] = to_floats(of_digit(0) * 256 + of_digit(1)) * 256.0f + to_floats(of_digit(2));
    }
}

/// A group's block in registers: its rows' scales and offsets, and bytes of four numbers each of every row.
template <class Format>
inline void load_block(__m512i (&words)[8], Vector<float>& d, Vector<float>& offset, const std::byte* block,
                       int64_t rows) {
  using Parts = BlockParts<Format>;
  constexpr int64_t kAhead = 2048;  // bytes; the processor alone fetches too late
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  const auto load_heads = [&](int64_t i) {
    const std::byte* p = block + Parts::head(i, 0, rows);
    return reinterpret_cast<Vector<float>>(_mm512_maskz_cvtph_ps(kAllLanes, _mm256_maskz_loadu_epi16(lanes, p)));
  };
  for (int64_t line = 0; line < rows * Format::kBytes; line += 64) __builtin_prefetch(block + kAhead + line);
  d = load_heads(0);
  if constexpr (Parts::kOffsets) offset = load_heads(1);
#pragma GCC unroll 8
  for (int64_t i = 0; i < Parts::kWords; ++i) {
    words[i] = _mm512_maskz_loadu_epi32(lanes, block + Parts::word(i, 0, rows));
    if constexpr (Parts::kHalves) {
      const __m512i low = _mm512_set1_epi8(15);
      words[i + 4] = _mm512_and_si512(_mm512_maskz_srli_epi16(~__mmask32{0}, words[i], 4), low);
      words[i] = _mm512_and_si512(words[i], low);
    }
  }
}

template <class Format, int G>
inline void multiply_groups(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                            int64_t m, int64_t blocks) {
  Vector<float> sum[G][kMostRows];
  for (int g = 0; g < G; ++g) std::fill_n(sum[g], m, Vector<float>{});
  for (int64_t b = 0; b < blocks; ++b) {
    __m512i words[G][8];
    Vector<float> d[G], offset[G] = {};
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g)
      load_block<Format>(words[g], d[g], offset[g], group + (g * blocks + b) * rows * Format::kBytes, rows);
    const auto add = [&]<int R>(int64_t i) {
      const IntegerBlock* x = a + i * blocks + b;
      Vector<float> products[G][R];
      multiply_integers<Format, G, R>(products, words, x, blocks);
      add_scaled<Format>(sum, i, products, d, offset, x, blocks);
    };
    int64_t i = 0;
    for (; i + 2 <= m; i += 2) add.template operator()<2>(i);
    if (i < m) add.template operator()<1>(i);
  }
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  for (int g = 0; g < G; ++g)
    for (int64_t i = 0; i < m; ++i)
      _mm512_mask_storeu_ps(out + g * kGroup + i * ldo, lanes, reinterpret_cast<__m512>(sum[g][i]));
}

}  // namespace thinker::stored

#endif
