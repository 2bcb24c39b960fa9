// Weights in blocks (stored_groups.h) as integers with AVX2, whose products of bytes are added up in 16 bits. Weights
// of 4 bits times digits of 8 bits: the 16 products that meet in a lane of 16 bits in a whole block, 15 * 128 each at
// most, fit. Weights of 8 bits would not; they are made numbers of 16 bits, whose products with digits of 12 bits are
// added up in 32 bits.
#pragma once

#include <cstring>

#include "tensor/cpu/stored_groups.h"

#if defined(THINKER_INTEGERS_AVX2)

namespace thinker::stored {

/// to = 32 numbers of 8 bits.
inline void store_digits(int8_t* to, const Integers (&x)[kVectors]) {
  const auto halves = [&](int v) {
    return _mm256_packs_epi32(reinterpret_cast<__m256i>(x[v]), reinterpret_cast<__m256i>(x[v + 1]));
  };
  const Integers turned_back = {0, 4, 1, 5, 2, 6, 3, 7};  // packs works on halves of a register
  const __m256i bytes =
      _mm256_permutevar8x32_epi32(_mm256_packs_epi16(halves(0), halves(2)), reinterpret_cast<__m256i>(turned_back));
  std::memcpy(to, &bytes, sizeof bytes);
}

/// to = 32 numbers of 16 bits, each four in the order 0, 2, 1, 3: a word of four bytes gives its even bytes with one
/// instruction and its odd ones with another.
inline void store_digits(int16_t* to, const Integers (&x)[kVectors]) {
  constexpr int kMiddleTurned = 0b11'01'10'00;
  for (int v = 0; v < kVectors; v += 2) {
    __m256i y = _mm256_packs_epi32(reinterpret_cast<__m256i>(x[v]), reinterpret_cast<__m256i>(x[v + 1]));
    y = _mm256_permute4x64_epi64(y, kMiddleTurned);
    y = _mm256_shufflelo_epi16(_mm256_shufflehi_epi16(y, kMiddleTurned), kMiddleTurned);
    std::memcpy(to + v * kLanes<float>, &y, sizeof y);
  }
}

inline Integers total(const Integers (&x)[kVectors]) {
  Integers sum = x[0];
  for (int v = 1; v < kVectors; ++v) sum += x[v];
  return sum;
}

/// digit = the last of each x, of `bits` bits; x becomes what is left.
inline void take_digit(Integers (&digit)[kVectors], Integers (&x)[kVectors], int bits) {
  for (int v = 0; v < kVectors; ++v) {
    const Integers above = (x[v] + (1 << (bits - 1))) >> bits;
    digit[v] = x[v] - (above << bits);
    x[v] = above;
  }
}

inline void to_integers(IntegerBlock& to, const float* from) {
  Vector<float> x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = load(from + v * kLanes<float>);
  const float inverse = scale_integers(to, x);
  if (std::isnan(inverse)) return;
  Integers left[kVectors], wide[kVectors], digit[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    left[v] = reinterpret_cast<Integers>(_mm256_cvtps_epi32(reinterpret_cast<__m256>(x[v] * inverse)));
    wide[v] = left[v];
  }
  take_digit(digit, left, 8);
  store_digits(to.digits[2], digit);
  to.zeros[1] = -128 * sum_of(total(digit));
  to.zeros[0] = -128 * sum_of(total(left));
  take_digit(digit, left, 8);
  store_digits(to.digits[1], digit);
  store_digits(to.digits[0], left);
  take_digit(digit, wide, 12);
  store_digits(to.wide_digits[1], digit);
  store_digits(to.wide_digits[0], wide);
  to.wide_zeros[1] = -128 * sum_of(total(digit));
  to.wide_zeros[0] = -128 * sum_of(total(wide));
}

/// The 32 bits at p in all lanes.
inline __m256i broadcast_word(const void* p) {
  return _mm256_set1_epi32(load_unaligned<int32_t>(static_cast<const std::byte*>(p)));
}

/// x, here and now: otherwise the compiler adds up the products of all words last, from memory.
inline __m256i now(__m256i x) {
  asm("" : "+x"(x));
  return x;
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

/// How a block's weights meet the digits of activations: a word of four bytes of each row in two halves, whose numbers
/// are multiplied by kDigits digits and added up in sums of their own.
template <class Format, bool kHalves = BlockParts<Format>::kHalves>
struct Digits;

/// Weights of 4 bits, digits of 8: a half is the low or the high four bits, a lane of a sum has 16 bits.
template <class Format>
struct Digits<Format, true> {
  static constexpr int kDigits = 3;

  static __m256i start(const IntegerBlock&, int) { return _mm256_setzero_si256(); }
  static __m256i numbers(__m256i word, int half) {
    return _mm256_and_si256(_mm256_srli_epi16(word, 4 * half), _mm256_set1_epi8(15));
  }
  static __m256i digit(const IntegerBlock& x, int p, int64_t word, int half) {
    return broadcast_word(x.digits[p] + kNumbers / 2 * half + 4 * word);
  }
  static __m256i add(__m256i sum, __m256i numbers, __m256i digit) {
    return now(_mm256_add_epi16(sum, _mm256_maddubs_epi16(numbers, digit)));
  }
  static Vector<float> total(const __m256i (&sum)[kDigits], const IntegerBlock& x) {
    const auto of_digit = [&](int p) {
      return reinterpret_cast<Integers>(_mm256_madd_epi16(sum[p], _mm256_set1_epi16(1)));
    };
    const auto zeros = [&](int p) { return x.zeros[p] * BlockParts<Format>::kZero / 128; };
    // |of_digit(p)| <= 32 * 15 * 128 < 2^16, and the first two together are below 2^24: exact as floats.
    return to_floats(of_digit(0) * 256 + of_digit(1) + zeros(0)) * 256.0f + to_floats(of_digit(2) + zeros(1));
  }
};

/// Weights of 8 bits, digits of 12: a half is the even or the odd bytes, a lane of a sum has 32 bits.
template <class Format>
struct Digits<Format, false> {
  static constexpr int kDigits = 2;

  static __m256i start(const IntegerBlock& x, int p) { return broadcast_word(&x.wide_zeros[p]); }
  static __m256i numbers(__m256i word, int half) {
    return half ? _mm256_srli_epi16(word, 8) : _mm256_and_si256(word, _mm256_set1_epi16(255));
  }
  static __m256i digit(const IntegerBlock& x, int p, int64_t word, int half) {
    return broadcast_word(x.wide_digits[p] + 4 * word + 2 * half);
  }
  static __m256i add(__m256i sum, __m256i numbers, __m256i digit) {
    return now(_mm256_add_epi32(sum, _mm256_madd_epi16(numbers, digit)));
  }
  static Vector<float> total(const __m256i (&sum)[kDigits], const IntegerBlock&) {
    const auto of_digit = [&](int p) { return to_floats(reinterpret_cast<Integers>(sum[p])); };
    return of_digit(0) * 4096.0f + of_digit(1);  // |of_digit(p)| <= 32 * 128 * 2048 = 2^23: exact
  }
};

/// products[i][lane r] = the integers of row r of the group times those of x[i * stride], whose scale is not applied
/// yet. block: of the group, which has `rows` rows (kGroup where kWhole).
template <class Format, bool kWhole, int R>
inline void multiply_block(Vector<float> (&products)[R], const std::byte* block, int64_t rows, const IntegerBlock* x,
                           int64_t stride) {
  using D = Digits<Format>;
  __m256i sum[R][D::kDigits];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
    for (int p = 0; p < D::kDigits; ++p) sum[i][p] = D::start(x[i * stride], p);
#pragma GCC unroll 8
  for (int64_t w = 0; w < BlockParts<Format>::kWords; ++w)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      asm volatile("" ::: "memory");  // or the compiler loads all words before the first row
      const __m256i q = D::numbers(load_word<Format, kWhole>(block, w, rows), half);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
        for (int p = 0; p < D::kDigits; ++p) sum[i][p] = D::add(sum[i][p], q, D::digit(x[i * stride], p, w, half));
    }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i) products[i] = D::total(sum[i], x[i * stride]);
}

template <class Format, bool kWhole>
inline void multiply_group_of(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                              int64_t m, int64_t blocks) {
  constexpr int64_t kAhead = 16 * kGroup * Format::kBytes;  // bytes; the processor alone fetches too late
  if constexpr (kWhole) rows = kGroup;
  using Parts = BlockParts<Format>;
  Vector<float> sum[kMostRows];
  std::fill_n(sum, m, Vector<float>{});
  for (int64_t b = 0; b < blocks; ++b, group += rows * Format::kBytes) {
    for (int64_t line = 0; line < kGroup * Format::kBytes; line += 64) __builtin_prefetch(group + kAhead + line);
    const Vector<float> d = load_heads<Format, kWhole>(group, 0, rows);
    Vector<float> offset = {};
    if constexpr (Parts::kOffsets) offset = load_heads<Format, kWhole>(group, 1, rows);
    for_rows_together<4>(m, [&]<int R>(int64_t i) {
      const IntegerBlock* x = a + i * blocks + b;
      Vector<float> products[R];
      multiply_block<Format, kWhole>(products, group, rows, x, blocks);
      add_scaled<Format>(sum + i, products, d, offset, x, blocks);
    });
  }
  for (int64_t i = 0; i < m; ++i) {
    float tile[kGroup];
    store(tile, sum[i]);
    std::copy(tile, tile + rows, out + i * ldo);
  }
}

template <class Format>
inline void multiply_group(float* out, int64_t ldo, const std::byte* group, int64_t rows, const IntegerBlock* a,
                           int64_t m, int64_t blocks) {
  if (rows == kGroup)
    multiply_group_of<Format, true>(out, ldo, group, rows, a, m, blocks);
  else
    multiply_group_of<Format, false>(out, ldo, group, rows, a, m, blocks);
}

/// products[s][lane r] = the same of row r of one of kStreams whole groups, `stride` bytes apart, and of x: a
/// digit is loaded once for all groups. (One function for several rows and several groups would keep its sums in
/// memory.)
template <class Format>
inline void multiply_blocks_apart(Vector<float> (&products)[BlockParts<Format>::kStreams], const std::byte* block,
                                  int64_t stride, const IntegerBlock& x) {
  using D = Digits<Format>;
  constexpr int kStreams = BlockParts<Format>::kStreams;
  __m256i sum[kStreams][D::kDigits];
#pragma GCC unroll 4
  for (int s = 0; s < kStreams; ++s)
    for (int p = 0; p < D::kDigits; ++p) sum[s][p] = D::start(x, p);
#pragma GCC unroll 8
  for (int64_t w = 0; w < BlockParts<Format>::kWords; ++w)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      asm volatile("" ::: "memory");
      __m256i digit[D::kDigits];
      for (int p = 0; p < D::kDigits; ++p) digit[p] = D::digit(x, p, w, half);
#pragma GCC unroll 4
      for (int s = 0; s < kStreams; ++s) {
        const __m256i q = D::numbers(load_word<Format, true>(block + s * stride, w, kGroup), half);
#pragma GCC unroll 3
        for (int p = 0; p < D::kDigits; ++p) sum[s][p] = D::add(sum[s][p], q, digit[p]);
      }
    }
#pragma GCC unroll 4
  for (int s = 0; s < kStreams; ++s) products[s] = D::total(sum[s], x);
}

template <class Format>
inline void multiply_groups_apart(float* out, const std::byte* group, int64_t apart, const IntegerBlock* a,
                                  int64_t blocks) {
  using Parts = BlockParts<Format>;
  const int64_t stride = apart * kGroup * blocks * Format::kBytes;
  Vector<float> sum[Parts::kStreams] = {};
  for (int64_t b = 0; b < blocks; ++b, group += kGroup * Format::kBytes) {
    Vector<float> products[Parts::kStreams];
    multiply_blocks_apart<Format>(products, group, stride, a[b]);
#pragma GCC unroll 4
    for (int s = 0; s < Parts::kStreams; ++s) {
      const Vector<float> d = load_heads<Format, true>(group + s * stride, 0, kGroup);
      Vector<float> offset = {};
      if constexpr (Parts::kOffsets) offset = load_heads<Format, true>(group + s * stride, 1, kGroup);
      const Vector<float> product[1] = {products[s]};
      add_scaled<Format>(sum + s, product, d, offset, a + b, blocks);
    }
  }
  for (int s = 0; s < Parts::kStreams; ++s) store(out + s * apart * kGroup, sum[s]);
}

template <class Format, bool kWhole>
inline void widen_columns_of(float* panel, int64_t ldp, const std::byte* group, int64_t rows, int64_t blocks) {
  using Parts = BlockParts<Format>;
  if constexpr (kWhole) rows = kGroup;
  for (int64_t b = 0; b < blocks; ++b, group += rows * Format::kBytes, panel += kNumbers * ldp) {
    const Vector<float> d = load_heads<Format, kWhole>(group, 0, rows);
    Vector<float> m = {};
    if constexpr (Parts::kOffsets) m = load_heads<Format, kWhole>(group, 1, rows);
    const auto put = [&](int64_t number, __m256i bits) {
      const auto q = reinterpret_cast<Integers>(bits) & (Parts::kHalves ? 15 : 255);
      store(panel + number * ldp, to_floats(q - Parts::kZero) * d + m);
    };
    for (int64_t w = 0; w < Parts::kWords; ++w) {
      const __m256i word = load_word<Format, kWhole>(group, w, rows);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        put(4 * w + j, _mm256_srli_epi32(word, 8 * j));
        if constexpr (Parts::kHalves) put(kNumbers / 2 + 4 * w + j, _mm256_srli_epi32(word, 8 * j + 4));
      }
    }
  }
}

template <class Format>
inline void widen_columns(float* panel, int64_t ldp, const std::byte* group, int64_t rows, int64_t blocks) {
  if (rows == kGroup)
    widen_columns_of<Format, true>(panel, ldp, group, rows, blocks);
  else
    widen_columns_of<Format, false>(panel, ldp, group, rows, blocks);
}

}  // namespace thinker::stored

#endif
