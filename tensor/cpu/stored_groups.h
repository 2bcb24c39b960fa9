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
  int32_t zeros[2];  // -128 times the sum of all 256 * digits[0] + digits[1], and of all digits[2]
  float scale;       // NaN where an activation is not finite, as sum
  float sum;         // of the activations
};
static_assert(sizeof(IntegerBlock) == kNumbers * sizeof(float));  // as much room as the activations

/// 32 activations, as integers.
void to_integers(IntegerBlock& to, const float* from);

/// out[i * ldo + 16 * g + r] = row i of a times row r of group g, for m rows of a, at most kMostRows, and G groups one
/// after the other with `rows` rows each, all of `blocks`. A row's result has the same bits whatever the others are.
template <class Format, int G>
void multiply_groups(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a, int64_t m,
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
  to.zeros[0] = -128 * sum_of(256 * sums[0] + sums[1]);
  to.zeros[1] = -128 * sum_of(sums[2]);
  to.scale = most / kMost;
}

/// products[g][i][lane r] = the integers of row r of group g times those of x[i * stride], whose scale is not applied
/// yet. words: the groups' bytes, four numbers each. Sums of several rows and groups, since each waits for its own
/// last.
template <class Format, int G, int R>
inline void multiply_integers(Vector<float> (&products)[G][R], const __m512i (&words)[G][8], const IntegerBlock* x,
                              int64_t stride) {
  // The words hold q + kZero without a sign.
  constexpr int32_t kZero = std::is_same_v<Format, Q8_0> ? 128 : std::is_same_v<Format, Q4_0> ? 8 : 0;
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
  constexpr int64_t kAhead = 2048;              // bytes; the processor alone fetches too late
  constexpr bool kHalves = Parts::kWords == 4;  // a byte has two numbers
  const auto lanes = static_cast<__mmask16>((1u << rows) - 1);
  const auto load_heads = [&](int64_t i) {
    const std::byte* p = block + Parts::head(i, 0, rows);
    return reinterpret_cast<Vector<float>>(_mm512_maskz_cvtph_ps(kAllLanes, _mm256_maskz_loadu_epi16(lanes, p)));
  };
  for (int64_t line = 0; line < rows * Format::kBytes; line += 64) __builtin_prefetch(block + kAhead + line);
  d = load_heads(0);
  if constexpr (Parts::kHeads == 2) offset = load_heads(1);
#pragma GCC unroll 8
  for (int64_t i = 0; i < Parts::kWords; ++i) {
    words[i] = _mm512_maskz_loadu_epi32(lanes, block + Parts::word(i, 0, rows));
    if constexpr (kHalves) {
      const __m512i low = _mm512_set1_epi8(15);
      words[i + 4] = _mm512_and_si512(_mm512_maskz_srli_epi16(~__mmask32{0}, words[i], 4), low);
      words[i] = _mm512_and_si512(words[i], low);
    }
  }
}

template <class Format, int G>
inline void multiply_groups(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                            int64_t m, int64_t blocks) {
  constexpr bool kOffsets = BlockParts<Format>::kHeads == 2;
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
#pragma GCC unroll 2
      for (int g = 0; g < G; ++g)
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
          sum[g][i + r] += products[g][r] * (d[g] * x[r * blocks].scale);
          if constexpr (kOffsets) sum[g][i + r] += offset[g] * x[r * blocks].sum;
        }
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

#endif

}  // namespace thinker::stored
