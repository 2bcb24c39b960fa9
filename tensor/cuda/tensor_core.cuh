// What tensor cores multiply, and how their operands get from shared memory into registers: a few PTX instructions
// behind functions, for sm_80 and later. There is no other inline assembly.
//
// A warp holds matrices in pieces. Lane l has, with g = l / 4 and t = l % 4:
//   a (16, 16): a[0] row g, columns 2t and 2t+1; a[1] row g+8; a[2] row g, columns 2t+8 and 2t+9; a[3] row g+8 of these
//   b (16, 8):  b0 rows 2t and 2t+1 of column g; b1 rows 2t+8 and 2t+9
//   c (16, 8):  c[0] and c[1] row g, columns 2t and 2t+1; c[2] and c[3] row g+8
// Two bf16 lie in one register, the first in its lower half. (PTX ISA, "Matrix fragments for mma.m16n8k16")
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace thinker {

/// Both numbers rounded to bf16, the first in the lower half.
__device__ inline uint32_t pack_bf16(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return static_cast<uint32_t>(__bfloat16_as_ushort(pair.y)) << 16 | __bfloat16_as_ushort(pair.x);
}

/// c (16, 8) += a (16, 16) . b (16, 8), products of bf16 added up in fp32.
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8x8 matrices of bf16 from shared memory. Lane l passes the address of row l % 8 of matrix l / 8, aligned to 16
/// bytes; it receives row l / 4, columns 2 (l % 4) and the next, of each.
__device__ inline void load_matrices(uint32_t (&x)[4], const bf16* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

/// The same of the transposed matrices: lane l receives rows 2 (l % 4) and the next of column l / 4.
__device__ inline void load_matrices_transposed(uint32_t (&x)[4], const bf16* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

}  // namespace thinker
