// Weights in blocks (stored_groups.h) as integers with AVX2: an instruction multiplies 16 pairs of 16-bit numbers and
// adds two products each. Activations have two digits of 12 bits; each four numbers lie in the order 0, 2, 1, 3, since
// a word of four bytes gives its even bytes with one instruction and its odd ones with another.
#pragma once

#include "tensor/cpu/stored_groups.h"

#if defined(THINKER_INTEGERS_AVX2)

namespace thinker::stored {

/// to = 16 numbers of 16 bits from first and second, each four in the order 0, 2, 1, 3.
inline void store_digits(int16_t* to, Integers first, Integers second) {
  constexpr int kMiddleTurned = 0b11'01'10'00;
  __m256i x = _mm256_packs_epi32(reinterpret_cast<__m256i>(first), reinterpret_cast<__m256i>(second));
  x = _mm256_permute4x64_epi64(x, kMiddleTurned);  // packs works on halves of a register
  x = _mm256_shufflelo_epi16(_mm256_shufflehi_epi16(x, kMiddleTurned), kMiddleTurned);
  std::memcpy(to, &x, sizeof x);
}

inline void to_integers(IntegerBlock& to, const float* from) {
  constexpr int64_t kLane = kLanes<float>;
  constexpr float kMost = 2047.0f * 4096.0f;  // the first digit fits, even where kMost / most was rounded up
  Vector<float> x[kVectors], sum = {}, bad = {}, most = {};
  for (int v = 0; v < kVectors; ++v) {
    x[v] = load(from + v * kLane);
    sum += x[v];
    bad += x[v] * 0.0f;
    const Vector<float> size = x[v] < 0.0f ? -x[v] : x[v];
    most = size > most ? size : most;
  }
  to.sum = sum_of(sum);
  if (std::isnan(sum_of(bad))) {
    to = {};
    to.scale = to.sum = NAN;
    return;
  }
  const float greatest = joined(most, [](Vector<float> a, Vector<float> b) { return a > b ? a : b; })[0];
  const float inverse = greatest > 1e-30f ? kMost / greatest : 0.0f;  // finite; less counts as zero
  Integers first[kVectors], second[kVectors], sums[2] = {};
  for (int v = 0; v < kVectors; ++v) {
    const auto whole = reinterpret_cast<Integers>(_mm256_cvtps_epi32(reinterpret_cast<__m256>(x[v] * inverse)));
    first[v] = (whole + 2048) >> 12;
    second[v] = whole - (first[v] << 12);
    sums[0] += first[v];
    sums[1] += second[v];
  }
  for (int v = 0; v < kVectors; v += 2) {
    store_digits(to.digits[0] + v * kLane, first[v], first[v + 1]);
    store_digits(to.digits[1] + v * kLane, second[v], second[v + 1]);
  }
  for (int p = 0; p < 2; ++p) to.zeros[p] = -128 * sum_of(sums[p]);
  to.scale = greatest / kMost;
}

/// Four bytes of each of a group's rows, the i-th of a block.
template <class Format, bool kWhole>
inline __m256i load_word(const std::byte* block, int64_t i, int64_t rows) {
  const auto* p = reinterpret_cast<const int*>(block + BlockParts<Format>::word(i, 0, rows));
  if constexpr (kWhole) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_maskload_epi32(p, reinterpret_cast<__m256i>(kLaneNumbers < static_cast<int32_t>(rows)));
}

/// The i-th scale of each of a group's rows.
template <class Format, bool kWhole>
inline Vector<float> load_heads(const std::byte* block, int64_t i, int64_t rows) {
  uint16_t heads[kGroup] = {};
  std::memcpy(heads, block + BlockParts<Format>::head(i, 0, rows), kWhole ? sizeof heads : 2 * rows);
  __m128i halves;
  std::memcpy(&halves, heads, sizeof halves);
  return reinterpret_cast<Vector<float>>(_mm256_cvtph_ps(halves));
}

/// products[g][i][lane r] = the integers of row r of group g times those of x[i * stride], whose scale is not applied
/// yet. block: of each group, `rows` rows (kGroup where kWhole).
template <class Format, bool kWhole, int G, int R>
inline void multiply_integers(Vector<float> (&products)[G][R], const std::byte* const (&block)[G], int64_t rows,
                              const IntegerBlock* x, int64_t stride) {
  // The words hold q + kZero without a sign.
  constexpr int32_t kZero = std::is_same_v<Format, Q8_0> ? 128 : std::is_same_v<Format, Q4_0> ? 8 : 0;
  constexpr bool kHalves = BlockParts<Format>::kWords == 4;  // a byte has two numbers
  Integers sum[G][R][2];
#pragma GCC unroll 2
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i)
      for (int p = 0; p < 2; ++p) sum[g][i][p] = Integers{} + x[i * stride].zeros[p] * kZero / 128;
  // A word's even bytes, then its odd ones; of each the lower half alone and then the upper, where bytes have two
  // numbers.
  constexpr int kPieces = kHalves ? 4 : 2;
#pragma GCC unroll 8
  for (int64_t w = 0; w < BlockParts<Format>::kWords; ++w)
#pragma GCC unroll 4
    for (int piece = 0; piece < kPieces; ++piece) {
      const int odd = piece % 2, high = piece / 2;
      asm volatile("" ::: "memory");  // or it loads all words before the first row
      __m256i q[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g)
        q[g] = _mm256_and_si256(_mm256_srli_epi16(load_word<Format, kWhole>(block[g], w, rows), 8 * odd + 4 * high),
                                _mm256_set1_epi16(kHalves ? 15 : 255));
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
        for (int p = 0; p < 2; ++p) {
          const int16_t* digits = x[i * stride].digits[p] + kNumbers / 2 * high + 4 * w + 2 * odd;
          const __m256i two = _mm256_set1_epi32(load_unaligned<int32_t>(reinterpret_cast<const std::byte*>(digits)));
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) {
            sum[g][i][p] += reinterpret_cast<Integers>(_mm256_madd_epi16(q[g], two));
            asm("" : "+x"(sum[g][i][p]));  // or the compiler adds up the products of all words last, from memory
          }
        }
    }
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) products[g][i] = to_floats(sum[g][i][0]) * 4096.0f + to_floats(sum[g][i][1]);
}

template <class Format, int G, bool kWhole>
inline void multiply_groups_of(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                               int64_t m, int64_t blocks) {
  constexpr int64_t kAhead = 16;  // blocks, in the order in which they are met; the processor alone fetches too late
  if constexpr (kWhole) rows = kGroup;
  constexpr bool kOffsets = BlockParts<Format>::kHeads == 2;
  Vector<float> sum[G][kMostRows];
  for (int g = 0; g < G; ++g) std::fill_n(sum[g], m, Vector<float>{});
  for (int64_t b = 0; b < blocks; ++b) {
    const std::byte* block[G];
    Vector<float> d[G], offset[G] = {};
    const int64_t next = b + kAhead < blocks ? b + kAhead : b + kAhead + (G - 1) * blocks;
    for (int g = 0; g < G; ++g) {
      block[g] = group + (g * blocks + b) * rows * Format::kBytes;
      for (int64_t line = 0; line < kGroup * Format::kBytes; line += 64)
        __builtin_prefetch(group + (g * blocks + next) * rows * Format::kBytes + line);
      d[g] = load_heads<Format, kWhole>(block[g], 0, rows);
      if constexpr (kOffsets) offset[g] = load_heads<Format, kWhole>(block[g], 1, rows);
    }
    const auto add = [&]<int R>(int64_t i) {
      const IntegerBlock* x = a + i * blocks + b;
      Vector<float> products[G][R];
      multiply_integers<Format, kWhole, G, R>(products, block, rows, x, blocks);
      for (int g = 0; g < G; ++g)
        for (int r = 0; r < R; ++r) {
          sum[g][i + r] += products[g][r] * (d[g] * x[r * blocks].scale);
          if constexpr (kOffsets) sum[g][i + r] += offset[g] * x[r * blocks].sum;
        }
    };
    int64_t i = 0;
    for (; i + 2 <= m; i += 2) add.template operator()<2>(i);
    if (i < m) add.template operator()<1>(i);
  }
  for (int g = 0; g < G; ++g)
    for (int64_t i = 0; i < m; ++i) {
      float tile[kGroup];
      store(tile, sum[g][i]);
      std::copy(tile, tile + rows, out + g * kGroup + i * ldo);
    }
}

template <class Format, int G>
inline void multiply_groups(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                            int64_t m, int64_t blocks) {
  if (rows == kGroup)
    multiply_groups_of<Format, G, true>(out, ldo, group, rows, a, m, blocks);
  else
    multiply_groups_of<Format, G, false>(out, ldo, group, rows, a, m, blocks);
}

}  // namespace thinker::stored

#endif
