// Weights in blocks, kept in groups of rows where the processor multiplies small integers: as many rows as a register
// has lanes of 32 bits, so that a register has a lane for each row, and a block's scales lie in the order in which they
// are wanted. A group has, block by block,
//   d of each row   Q4_1: m of each row   four bytes of each row   the next four bytes of each row   ...
// in as many bytes as its rows have in a file. (Bytes of Q8_0 are kept 128 higher, without a sign.) The last group of a
// weight may have fewer rows.
//
// A row of activations becomes integers of 24 bits for that, in digits, with a scale for 32 numbers: off
// by about 2^-24 of the greatest of these, as fp32 itself is. Their products with a block's integers are added up
// exactly, then scaled in fp32. The widening of each weight to fp32 is saved: it took longer than reading.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/cpu/stored.h"

namespace thinker::stored {

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define THINKER_INTEGERS_VNNI  // stored_integers_vnni.h
#elif defined(__AVX2__) && defined(__F16C__) && !defined(__AVX512F__)
#define THINKER_INTEGERS_AVX2  // stored_integers_avx2.h
#endif

#if defined(THINKER_INTEGERS_VNNI) || defined(THINKER_INTEGERS_AVX2)
constexpr bool kHasGroups = true;
#else
constexpr bool kHasGroups = false;
#endif

#if defined(THINKER_INTEGERS_VNNI)
constexpr bool kFastIntegers = true;  // as fast as the products of fp32 factors that they save the widening for
#else
constexpr bool kFastIntegers = false;
#endif

constexpr int64_t kGroup = kLanes<float>;
#if defined(THINKER_INTEGERS_AVX2)
constexpr bool kGroupsApart = true;  // a single row meets several groups at once (streams.h)
#else
constexpr bool kGroupsApart = false;
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
  static constexpr bool kOffsets = kHeads == 2;
  static constexpr bool kHalves = kWords == 4;                          // a byte has two numbers
  static constexpr int32_t kZero = kHalves ? (kOffsets ? 0 : 8) : 128;  // a group has q + kZero, without a sign
  // Groups at once: their sums, of three digits or of two, fit into registers.
  static constexpr int kStreams = kGroupsApart ? (kHalves ? 3 : 4) : 1;

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

#if defined(__AVX512F__)
constexpr Integers kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX__)
constexpr Integers kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
#else
constexpr Integers kLaneNumbers = {0, 1, 2, 3};
#endif

/// All lanes of x joined by `join`, in each lane.
template <class V, class Join>
inline V joined(V x, const Join& join) {
#pragma GCC unroll 4
  for (int step = kGroup / 2; step > 0; step /= 2) x = join(x, __builtin_shuffle(x, kLaneNumbers ^ step));
  return x;
}

template <class V>
inline auto sum_of(V x) {
  return joined(x, [](V a, V b) { return a + b; })[0];
}

/// 32 activations, x = scale * an integer of 24 bits.
struct alignas(64) IntegerBlock {
  int8_t digits[3][kNumbers];  // of 8 bits, the highest first
  int32_t zeros[2];            // -128 times the sums of the first two digits together, and of the last
#if defined(THINKER_INTEGERS_AVX2)
  int16_t wide_digits[2][kNumbers];  // of 12 bits, each four in the order 0, 2, 1, 3
  int32_t wide_zeros[2];             // -128 times their sums
#endif
  float scale;  // NaN where an activation is not finite, as sum
  float sum;    // of the activations
};

/// What finite activations are multiplied by to become integers, and their scale and sum; NaN for all three where one
/// is not finite.
inline float scale_integers(IntegerBlock& to, const Vector<float> (&x)[kVectors]) {
  constexpr float kMost = 127.0f * 256.0f * 256.0f;  // the first digit fits, even where kMost / greatest was rounded up
  const auto greater = [](Vector<float> a, Vector<float> b) { return a > b ? a : b; };
  Vector<float> sum = x[0], bad = x[0] * 0.0f, most = {};
  for (int v = 1; v < kVectors; ++v) {
    sum += x[v];
    bad += x[v] * 0.0f;
  }
  for (int v = 0; v < kVectors; ++v) most = greater(x[v] < 0.0f ? -x[v] : x[v], most);
  to.sum = sum_of(sum);
  if (std::isnan(sum_of(bad))) {
    to = {};
    return to.scale = to.sum = NAN;
  }
  const float greatest = joined(most, greater)[0];
  to.scale = greatest / kMost;
  return greatest > 1e-30f ? kMost / greatest : 0.0f;  // finite; less counts as zero
}

/// 32 activations, as integers.
void to_integers(IntegerBlock& to, const float* from);

/// Adds a block's products of R rows to their sums, with the scales and offsets of the group's rows and of the
/// activations x, x + stride, ...
template <class Format, int R>
inline void add_scaled(Vector<float>* sum, const Vector<float> (&products)[R], Vector<float> d, Vector<float> offset,
                       const IntegerBlock* x, int64_t stride) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    sum[r] += products[r] * (d * x[r * stride].scale);
    if constexpr (BlockParts<Format>::kOffsets) sum[r] += offset * x[r * stride].sum;
  }
}

/// out[i * ldo + r] = row i of a times row r of the group, for m rows of a, at most kMostRows, and `rows` rows of the
/// group, all of `blocks`. A row's result has the same bits whatever the others are. One group after the other: memory
/// is read fastest in the order in which it lies.
template <class Format>
void multiply_group(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a, int64_t m,
                    int64_t blocks);

/// out[s * apart * kGroup + r] = one row of a times row r of the whole group s * apart groups on, for kStreams groups,
/// with the bits that multiply_group gives. Where kGroupsApart.
template <class Format>
void multiply_groups_apart(float* out, const std::byte* group, int64_t apart, const IntegerBlock* a, int64_t blocks);

/// panel (k, kGroup), a row every ldp numbers, = the rows of a group, in fp32, as columns; zeros where there are fewer
/// rows. Where fp32 products are faster than those of integers (not kFastIntegers), for products with many rows.
template <class Format>
void widen_columns(float* panel, int64_t ldp, const std::byte* group, int64_t rows, int64_t blocks);

}  // namespace thinker::stored
