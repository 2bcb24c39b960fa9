// One row of a times a stored weight: the product that a single answer is decoded with. Its time should be that of
// reading the weight, and a core reads fastest from several places at once, in each of which the processor fetches
// ahead. So the weight's rows are cut into streams that are read side by side.
//
// BFloat16 is widened as for more rows. A block's scale d, the same for 32 numbers, is applied to their sum, not to
// each of them, and what Q4_1 adds to d·q meets the sum of a's block: widening alone would take longer than reading.
#pragma once

#include <algorithm>
#include <type_traits>

#include "tensor/cpu/stored.h"

namespace thinker::stored {

constexpr int64_t kAhead = 512;  // bytes of each stream; the processor alone fetches too late

/// out[j] for j in [begin, end) = kernel's row j. The kernel computes as many rows as it has streams, `apart` rows from
/// each other.
template <class Kernel>
void multiply_streams(float* out, const Kernel& kernel, int64_t begin, int64_t end) {
  constexpr int kStreams = Kernel::kStreams;
  // All places of the streams fit into 32 bits. An odd distance: at a power of two they would share a cache's lines.
  const int64_t most_apart = std::min<int64_t>(1021, INT32_MAX / kStreams / kernel.weight.row_bytes);
  while (most_apart > 0 && end - begin >= kStreams) {
    const int64_t apart = std::min((end - begin) / kStreams, most_apart);
    for (int64_t j = begin; j < begin + apart; ++j) {
      float sums[kLanes<float>];
      store(sums, kernel.template rows<kStreams>(j, apart));
      for (int i = 0; i < kStreams; ++i) out[j + i * apart] = sums[i];
    }
    begin += kStreams * apart;
  }
  for (; begin < end; ++begin) out[begin] = kernel.template rows<1>(begin, 0)[0];
}

/// Numbers widened in registers. Adds up in the order that several rows of a are multiplied in, too.
template <class Format>
struct WidenedRow {
  static constexpr int kStreams = kVectorBytes == 64 ? 8 : std::max(8 / kVectors, 1);  // their sums fit into registers
  const float* a;  // (padded(k)), shuffled for BFloat16
  StoredRows weight;

  /// Lane i = the product with the weight's row first + i * apart.
  template <int S>
  Vector<float> rows(int64_t first, int64_t apart) const {
    const std::byte* p = weight.row(first);
    const int64_t k = weight.k, stride = apart * weight.row_bytes;
    Vector<float> sum[S][kVectors] = {};
    const auto add = [&](int64_t j, const auto& widen) {
#pragma GCC unroll 8
      for (int i = 0; i < S; ++i) {
        Widened w;
        widen(w, p + i * stride);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[i][v] += w[v] * load(a + j + v * kLanes<float>);
      }
      p += Format::kBytes;
    };
    int64_t j = 0;
    for (; j + kNumbers <= k; j += kNumbers)
      add(j, [](Widened& w, const std::byte* at) {
        __builtin_prefetch(at + kAhead);
        widen_for_product<Format>(w, at);
      });
    if (j < k)
      add(j, [&](Widened& w, const std::byte* at) { widen_part<Format>(w, at, k - j, widen_for_product<Format>); });
    Vector<float> total[kLanes<float>] = {};
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) {
      total[i] = sum[i][0];
#pragma GCC unroll 8
      for (int v = 1; v < kVectors; ++v) total[i] += sum[i][v];
    }
    return sums_of<float>(total);
  }
};

#if defined(__AVX512F__) && defined(__F16C__)

/// Lane i = the fp16 number in the lower half of lane i.
inline Vector<float> halves(__m512i x) {
  return reinterpret_cast<Vector<float>>(_mm512_maskz_cvtph_ps(0xffff, _mm512_maskz_cvtepi32_epi16(0xffff, x)));
}

/// The integers q of a block, in fp32: its numbers are d·q, for Q4_1 d·q + m.
template <class Format>
inline void load_integers(Widened& q, const std::byte* block) {
  if constexpr (std::is_same_v<Format, Q8_0>) {
    for (int i = 0; i < kVectors; ++i) q[i] = to_floats(load_signed_bytes(block + 2 + i * kLanes<float>));
  } else {
    // Looked up by the low four bits: faster than converting.
    const Vector<float> all = std::is_same_v<Format, Q4_0> ? kCount - 8.0f : kCount;
    const Integers nibbles = load_bytes(block + Format::kBytes - 16);
    q[0] = __builtin_shuffle(all, nibbles);
    q[1] = __builtin_shuffle(all, nibbles >> 4);
  }
}

/// sums (k / kNumbers) = those of a's blocks.
inline void sum_blocks(float* sums, const float* a, int64_t k) {
  for (int64_t b = 0; b < k / kNumbers; b += kLanes<float>) {
    Vector<float> of_block[kLanes<float>] = {};
    const int64_t blocks = std::min<int64_t>(kLanes<float>, k / kNumbers - b);
    for (int64_t i = 0; i < blocks; ++i) {
      const float* x = a + (b + i) * kNumbers;
      of_block[i] = load(x) + load(x + kLanes<float>);
    }
    float together[kLanes<float>];
    store(together, sums_of<float>(of_block));
    std::copy(together, together + blocks, sums + b);
  }
}

/// Blocks whose scale is applied to their sum.
template <class Format>
struct BlockRow {
  static constexpr int kStreams = 16;  // a lane each
  const float* a;
  const float* sums;  // of a's blocks, for Q4_1
  StoredRows weight;

  /// Lane i = the product with the weight's row first + i * apart.
  template <int S>
  Vector<float> rows(int64_t first, int64_t apart) const {
    const std::byte* p = weight.row(first);
    const int64_t stride = apart * weight.row_bytes;
    const Integers lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const auto places = reinterpret_cast<__m512i>(lane * static_cast<int32_t>(stride));
    Vector<float> sum[kStreams] = {}, offsets = {};
    for (int64_t b = 0; b < weight.k / kNumbers; ++b, p += Format::kBytes) {
      // The first four bytes of S blocks: d and whatever follows it.
      const __m512i heads = S == 1 ? _mm512_set1_epi32(load_unaligned<int32_t>(p))
                                   : _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, places, p, 1);
      const Vector<float> d = halves(heads);
      if constexpr (std::is_same_v<Format, Q4_1>)
        offsets += halves(_mm512_maskz_srli_epi32(0xffff, heads, 16)) * sums[b];
      float scale[kStreams];
      store(scale, d);
      const Vector<float> x[kVectors] = {load(a + b * kNumbers), load(a + b * kNumbers + kLanes<float>)};
#pragma GCC unroll 16
      for (int i = 0; i < S; ++i) {
        const std::byte* block = p + i * stride;
        __builtin_prefetch(block + kAhead);
        Widened q;
        load_integers<Format>(q, block);
        sum[i] += (q[0] * x[0] + q[1] * x[1]) * scale[i];
      }
    }
    return sums_of<float>(sum) + offsets;
  }
};

#endif

}  // namespace thinker::stored
