// Weights in blocks, kept in groups of 16 rows where the processor multiplies bytes (AVX-512 VNNI): a register then has
// a lane for each row, and a block's scales lie in the order in which they are wanted. A group has, block by block,
//   d of each row   Q4_1: m of each row   four bytes of each row   the next four bytes of each row   ...
// in as many bytes as its rows have in a file. (Bytes of Q8_0 are kept 128 higher: VNNI takes one factor without a
// sign.)
// The last group of a weight may have fewer rows.
//
// A row of activations becomes integers of 24 bits for that, three digits of 8 bits each, with a scale for 32 numbers:
// off by about 2^-24 of the greatest of these, as fp32 itself is. Their products with a block's integers are added up
// exactly, then scaled in fp32. The widening of each weight to fp32 is saved: it took longer than reading.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor/cpu/stored.h"

namespace thinker::stored {

constexpr int64_t kGroup = 16;

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
constexpr bool kHasGroups = true;
#else
constexpr bool kHasGroups = false;
#endif

/// Whether weights of this type are kept in groups.
template <class Format>
constexpr bool kGrouped = kHasGroups && !std::is_same_v<Format, BFloat16>;

/// The parts of a block: d (and m), then words of four bytes.
template <class Format>
struct BlockParts {
  static constexpr int64_t kHeads = Format::kBytes % 16 / 2;
  static constexpr int64_t kWords = Format::kBytes / 16 * 4;
  static constexpr uint32_t kFlip = std::is_same_v<Format, Q8_0> ? 0x80808080u : 0;

  static int64_t head(int64_t i, int64_t row, int64_t rows) { return 2 * (i * rows + row); }
  static int64_t word(int64_t i, int64_t row, int64_t rows) { return 2 * kHeads * rows + 4 * (i * rows + row); }
};

/// Calls copy(flip, place in the group's block, place in the row's own block) for each part of a block: flip's type is
/// the part's, and its value is what the part is xored with.
template <class Format, class Copy>
inline void for_block_parts(int64_t row, int64_t rows, const Copy& copy) {
  using Parts = BlockParts<Format>;
  for (int64_t i = 0; i < Parts::kHeads; ++i) copy(uint16_t{0}, Parts::head(i, row, rows), 2 * i);
  for (int64_t i = 0; i < Parts::kWords; ++i) copy(Parts::kFlip, Parts::word(i, row, rows), 2 * Parts::kHeads + 4 * i);
}

/// group = `rows` rows of k numbers as files have them.
template <class Format>
void to_group(std::byte* group, const std::byte* from, int64_t rows, int64_t k) {
  const int64_t blocks = k / kNumbers;
  for (int64_t b = 0; b < blocks; ++b, group += rows * Format::kBytes)
    for (int64_t row = 0; row < rows; ++row)
      for_block_parts<Format>(row, rows, [&](auto flip, int64_t in_group, int64_t in_file) {
        using Part = decltype(flip);
        const auto part =
            static_cast<Part>(load_unaligned<Part>(from + (row * blocks + b) * Format::kBytes + in_file) ^ flip);
        std::memcpy(group + in_group, &part, sizeof part);
      });
}

/// A row's block as files have it, from the group's block.
template <class Format>
std::array<std::byte, Format::kBytes> from_group(const std::byte* block, int64_t row, int64_t rows) {
  std::array<std::byte, Format::kBytes> bytes;
  for_block_parts<Format>(row, rows, [&](auto flip, int64_t in_group, int64_t in_file) {
    using Part = decltype(flip);
    const auto part = static_cast<Part>(load_unaligned<Part>(block + in_group) ^ flip);
    std::memcpy(bytes.data() + in_file, &part, sizeof part);
  });
  return bytes;
}

/// 32 activations x = scale * (digits[0] * 256^2 + digits[1] * 256 + digits[2]).
struct alignas(64) IntegerBlock {
  int8_t digits[3][kNumbers];
  int32_t digit_sums[3];
  float scale;  // NaN where an activation is not finite, as sum
  float sum;    // of the activations
};
static_assert(sizeof(IntegerBlock) == kNumbers * sizeof(float));  // as much room as the activations

/// 32 activations, as integers.
void to_integers(IntegerBlock& to, const float* from);

/// out[i * ldo + r] = row i of a times row r of a group, for m rows of a and `rows` of the group, all of `blocks`. A
/// row's result has the same bits whatever the other rows are.
template <class Format>
void multiply_group(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a, int64_t m,
                    int64_t blocks);

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)  // kHasGroups

constexpr __mmask16 kAllLanes = 0xffff;

/// All lanes of x joined by `join`, in each lane.
template <class V, class Join>
inline V joined(V x, const Join& join) {
  const Integers lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#pragma GCC unroll 4
  for (int step = 8; step > 0; step /= 2) x = join(x, __builtin_shuffle(x, lane ^ step));
  return x;
}

template <class V>
inline auto sum_of(V x) {
  return joined(x, [](V a, V b) { return a + b; })[0];
}

inline void to_integers(IntegerBlock& to, const float* from) {
  constexpr int64_t kLane = kLanes<float>;
  constexpr float kMost = 127.0f * 256.0f * 256.0f;  // the first digit fits, even where kMost / most was rounded up
  const Vector<float> x[2] = {load(from), load(from + kLane)};
  to.sum = sum_of(x[0] + x[1]);
  if (std::isnan(sum_of(x[0] * 0.0f + x[1] * 0.0f))) {
    to = {};
    to.scale = to.sum = NAN;
    return;
  }
  const auto greater = [](Vector<float> a, Vector<float> b) { return a > b ? a : b; };
  const auto size = [](Vector<float> v) { return v < 0.0f ? -v : v; };
  const float most = joined(greater(size(x[0]), size(x[1])), greater)[0];
  const float inverse = most > 1e-30f ? kMost / most : 0.0f;  // finite; less counts as zero
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
  for (int p = 0; p < 3; ++p) to.digit_sums[p] = sum_of(sums[p]);
  to.scale = most / kMost;
}

/// Lane r = the integers of row r of a group times those of x, where x's scale is not applied yet. words: their bytes,
/// four numbers each.
template <class Format>
inline Vector<float> multiply_integers(const __m512i (&words)[8], const IntegerBlock& x) {
  // The words hold q + zero without a sign.
  constexpr int32_t kZero = std::is_same_v<Format, Q8_0> ? 128 : std::is_same_v<Format, Q4_0> ? 8 : 0;
  const auto four = [](const int8_t* digits) {
    int32_t word;
    std::memcpy(&word, digits, sizeof word);
    return word;
  };
  __m512i sum[3];
#pragma GCC unroll 3
  for (int p = 0; p < 3; ++p) {
    sum[p] = _mm512_set1_epi32(-kZero * x.digit_sums[p]);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      sum[p] = _mm512_dpbusd_epi32(sum[p], words[i], _mm512_set1_epi32(four(x.digits[p] + 4 * i)));
  }
  // |sum| < 2^20.
  const auto upper = reinterpret_cast<Integers>(sum[0]) * 256 + reinterpret_cast<Integers>(sum[1]);
  return to_floats(upper) * 256.0f + to_floats(reinterpret_cast<Integers>(sum[2]));
}

template <class Format>
inline void multiply_group(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                           int64_t m, int64_t blocks) {
  using Parts = BlockParts<Format>;
  constexpr int64_t kAhead = 2048;              // bytes; the processor alone fetches too late
  constexpr bool kHalves = Parts::kWords == 4;  // a byte has two numbers
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  const auto load_heads = [&](int64_t i) {
    const std::byte* p = group + Parts::head(i, 0, rows);
    return reinterpret_cast<Vector<float>>(_mm512_maskz_cvtph_ps(kAllLanes, _mm256_maskz_loadu_epi16(lanes, p)));
  };
  Vector<float> sum[kMostRows];
  std::fill_n(sum, m, Vector<float>{});
  for (int64_t b = 0; b < blocks; ++b, group += rows * Format::kBytes) {
    for (int64_t line = 0; line < rows * Format::kBytes; line += 64) __builtin_prefetch(group + kAhead + line);
    __m512i words[8];
#pragma GCC unroll 8
    for (int64_t i = 0; i < Parts::kWords; ++i) {
      words[i] = _mm512_maskz_loadu_epi32(lanes, group + Parts::word(i, 0, rows));
      if constexpr (kHalves) {
        const __m512i low = _mm512_set1_epi8(15);
        words[i + 4] = _mm512_and_si512(_mm512_maskz_srli_epi16(~__mmask32{0}, words[i], 4), low);
        words[i] = _mm512_and_si512(words[i], low);
      }
    }
    const Vector<float> d = load_heads(0);
    Vector<float> offset = {};
    if constexpr (Parts::kHeads == 2) offset = load_heads(1);
    for (int64_t i = 0; i < m; ++i) {
      const IntegerBlock& x = a[i * blocks + b];
      sum[i] += multiply_integers<Format>(words, x) * (d * x.scale);
      if constexpr (Parts::kHeads == 2) sum[i] += offset * x.sum;
    }
  }
  for (int64_t i = 0; i < m; ++i) _mm512_mask_storeu_ps(out + i * ldo, lanes, reinterpret_cast<__m512>(sum[i]));
}

#endif

}  // namespace thinker::stored
