// One row of a times a stored weight: the product that a single answer is decoded with. Its time should be that of
// reading the weight, and a core reads fastest from several places at once, in each of which the processor fetches
// ahead. So the weight's rows are cut into streams that are read side by side, and widened as for more rows.
#pragma once

#include <algorithm>

#include "tensor/cpu/stored.h"

namespace thinker::stored {

constexpr int64_t kAhead = 512;  // bytes of each stream; the processor alone fetches too late

/// out[j] for j in [begin, end) = kernel's row j. The kernel computes as many rows as it has streams, `apart` rows from
/// each other.
template <class Kernel>
void multiply_streams(float* out, const Kernel& kernel, int64_t begin, int64_t end) {
  constexpr int kStreams = Kernel::kStreams;
  constexpr int64_t kMostApart = 1021;  // odd: at a power of two they would share a cache's lines
  while (end - begin >= kStreams) {
    const int64_t apart = std::min((end - begin) / kStreams, kMostApart);
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

}  // namespace thinker::stored
