// One row of a times a weight whose numbers are widened in registers: the product that a single answer is decoded with,
// in BF16 everywhere and in blocks where these are not kept in groups (stored_groups.h). Its time should be that of
// reading the weight, in streams (streams.h).
#pragma once

#include "tensor/cpu/stored.h"
#include "tensor/cpu/streams.h"

namespace thinker::stored {

/// Lane i = the product with the weight's row first + i * apart, for S rows. a (padded(k)) is shuffled for BFloat16.
/// Adds up in the order that several rows of a are multiplied in, too.
template <class Format, int S>
Vector<float> multiply_apart(const float* a, const StoredRows& weight, int64_t first, int64_t apart) {
  constexpr int64_t kAhead = 512;  // bytes of each stream; the processor alone fetches too late
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

/// out[j] = the product with the weight's row j, for j in [begin, end).
template <class Format>
void multiply_streams(float* out, const float* a, const StoredRows& weight, int64_t begin, int64_t end) {
  constexpr int kStreams = kVectorBytes == 64 ? 8 : kVectorBytes == 32 ? 4 : 1;
  const auto several = [&](int64_t j, int64_t apart) {
    float sums[kLanes<float>];
    store(sums, multiply_apart<Format, kStreams>(a, weight, j, apart));
    for (int i = 0; i < kStreams; ++i) out[j + i * apart] = sums[i];
  };
  for_streams<kStreams>(begin, end, kMostApart, several,
                        [&](int64_t j) { out[j] = multiply_apart<Format, 1>(a, weight, j, 0)[0]; });
}

}  // namespace thinker::stored
