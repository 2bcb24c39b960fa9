// In place of the file of the same name: what its instructions do, as the PTX ISA tells it ("Matrix fragments for
// mma.m16n8k16", "ldmatrix").
#pragma once

#include <stdexcept>

#include "tensor/dtype.h"

namespace thinker {

inline uint32_t pack_bf16(float first, float second) {
  return to_bf16(first).bits | uint32_t{to_bf16(second).bits} << 16;
}

/// Number 0 or 1 of a register.
inline float half_of(uint32_t pair, int half) {
  return to_float(bf16{static_cast<uint16_t>(pair >> 16 * half)});
}

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Registers {
    uint32_t a[4], b[2];
  };
  const auto lanes = emulation::show("mma", Registers{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int group = emulation::lane() / 4, in_group = emulation::lane() % 4;
  float left[2][16], right[2][16];  // this lane's two rows of a and two columns of b
  for (int lane = 0; lane < 4; ++lane) {
    const Registers of_rows = lanes[4 * group + lane];
    const Registers of_columns[2] = {lanes[8 * in_group + lane], lanes[8 * in_group + 4 + lane]};
    for (int k = 0; k < 4; ++k)  // of the lane's four numbers of each
      for (int i = 0; i < 2; ++i) {
        left[i][8 * (k / 2) + 2 * lane + k % 2] = half_of(of_rows.a[2 * (k / 2) + i], k % 2);
        right[i][8 * (k / 2) + 2 * lane + k % 2] = half_of(of_columns[i].b[k / 2], k % 2);
      }
  }
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 16; ++k) c[i] += left[i / 2][k] * right[i % 2][k];
}

/// Each lane shows the row that it points to.
template <bool transposed>
void load_matrices_as(uint32_t (&x)[4], const bf16* row) {
  struct Row {
    bf16 x[8];
  };
  if (reinterpret_cast<uintptr_t>(row) % sizeof(Row) != 0)
    throw std::runtime_error("ldmatrix: a row is not aligned to 16 bytes");
  const auto rows = emulation::show("ldmatrix", *reinterpret_cast<const Row*>(row));
  const int upper = emulation::lane() / 4, pair = 2 * (emulation::lane() % 4);
  for (int m = 0; m < 4; ++m) {
    const auto element = [&](int i, int j) { return rows[8 * m + i].x[j].bits; };
    const uint16_t first = transposed ? element(pair, upper) : element(upper, pair);
    const uint16_t second = transposed ? element(pair + 1, upper) : element(upper, pair + 1);
    x[m] = first | uint32_t{second} << 16;
  }
}

inline void load_matrices(uint32_t (&x)[4], const bf16* row) {
  load_matrices_as<false>(x, row);
}
inline void load_matrices_transposed(uint32_t (&x)[4], const bf16* row) {
  load_matrices_as<true>(x, row);
}

}  // namespace thinker
