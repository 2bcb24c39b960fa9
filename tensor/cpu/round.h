// Rounding of floats to bf16, to nearest, ties to even: to_bf16 (tensor/dtype.h) for many. The processor's own
// instruction, where there is one, differs only in that it takes denormal numbers for 0.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace thinker::cpu {

inline void round_to_bf16(bf16* to, const float* from, int64_t n) {
  int64_t i = 0;
#if defined(__AVX512BF16__)
  for (; i + 32 <= n; i += 32) {
    const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    _mm512_storeu_si512(to + i, (__m512i)x);
  }
#endif
#pragma omp simd
  for (int64_t j = i; j < n; ++j) to[j] = to_bf16(from[j]);
}

/// The same, kept as floats.
inline void round_to_bf16(float* to, const float* from, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = to_float(to_bf16(from[i]));
}

}  // namespace thinker::cpu
