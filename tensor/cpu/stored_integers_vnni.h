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

/// products[i][lane r] = the integers of row r of the group times those of x[i * stride], whose scale is not applied
/// yet. words: the group's bytes, four numbers each. Sums of several rows, since each waits for its own last.
template <class Format, int R>
inline void multiply_integers(Vector<float> (&products)[R], const __m512i (&words)[8], const IntegerBlock* x,
                              int64_t stride) {
  constexpr int32_t kZero = BlockParts<Format>::kZero;
  __m512i sum[R][3] = {};
  if constexpr (kZero != 0)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i)
      for (int p = 0; p < 2; ++p) sum[i][p + 1] = _mm512_set1_epi32(x[i * stride].zeros[p] / (128 / kZero));
#pragma GCC unroll 8
  for (int word = 0; word < 8; ++word)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
      for (int p = 0; p < 3; ++p) {
        const auto* digits = reinterpret_cast<const std::byte*>(x[i * stride].digits[p]);
        const __m512i four = _mm512_set1_epi32(load_unaligned<int32_t>(digits + 4 * word));
        sum[i][p] = _mm512_dpbusd_epi32(sum[i][p], words[word], four);
      }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) {
    const auto of_digit = [&](int p) { return reinterpret_cast<Integers>(sum[i][p]); };
    // |of_digit(0)| < 2^20, |of_digit(1)| < 2^28.
    products[i] = to_floats(of_digit(0) * 256 + of_digit(1)) * 256.0f + to_floats(of_digit(2));
  }
}

/// A group's block in registers: its rows' scales and offsets, and bytes of four numbers each of every row.
template <class Format>
inline void load_block(__m512i (&words)[8], Vector<float>& d, Vector<float>& offset, const std::byte* block,
                       int64_t rows) {
  using Parts = BlockParts<Format>;
  constexpr int64_t kAhead = 3072;  // bytes; the processor alone fetches too late
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

template <class Format>
inline void multiply_group(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                           int64_t m, int64_t blocks) {
  Vector<float> sum[kMostRows];
  std::fill_n(sum, m, Vector<float>{});
  for (int64_t b = 0; b < blocks; ++b, group += rows * Format::kBytes) {
    __m512i words[8];
    Vector<float> d, offset = {};
    load_block<Format>(words, d, offset, group, rows);
    for_rows_together<4>(m, [&]<int R>(int64_t i) {
      const IntegerBlock* x = a + i * blocks + b;
      Vector<float> products[R];
      multiply_integers<Format, R>(products, words, x, blocks);
      add_scaled<Format>(sum + i, products, d, offset, x, blocks);
    });
  }
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  for (int64_t i = 0; i < m; ++i) _mm512_mask_storeu_ps(out + i * ldo, lanes, reinterpret_cast<__m512>(sum[i]));
}

}  // namespace thinker::stored

#endif
