// Small matrix products in registers, for attention and for products in F64:
//   c (rows, cols) = or += a (rows, depth) . b (depth, cols)
// b and c are row-major; a may have any strides, so that a transposed matrix needs no copy. A tile of c stays in
// registers over the whole depth; every element is summed in the order of depth.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "tensor/backend.h"

namespace thinker {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileVectors = 4;  // 6 x 4 sums, 4 of b: 28 of 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kTileVectors = 2;  // 6 x 2 sums, 2 of b: 14 of 16 registers
#else
constexpr int kVectorBytes = 16;
constexpr int kTileVectors = 2;
#endif
constexpr int kTileRows = 6;
// Few rows take wider tiles: with few sums each would wait for its own last addition.
constexpr int kFewTileRows = 3;
constexpr int kFewTileVectors = 4;

/// A register full of T; arithmetic on it is element-wise.
template <class T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::Type;

/// Numbers in a Vector.
template <class T>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(T));

template <class T>
inline Vector<T> load(const T* p) {
  Vector<T> x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

template <class T>
inline void store(T* p, Vector<T> x) {
  std::memcpy(p, &x, sizeof x);
}

/// A matrix that is only read, element (i, j) at data[i * row + j * column].
template <class T>
struct Strided {
  const T* data;
  int64_t row, column;

  Strided from(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
};

template <class T, int R, int V>
inline void multiply_tile(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t depth, Write write) {
  Vector<T> sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) sum[i][j] = write == Write::add ? load(c + i * ldc + j * kLanes<T>) : Vector<T>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vector<T> right[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) right[j] = load(b + k * ldb + j * kLanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const T left = a.data[i * a.row + k * a.column];
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) store(c + i * ldc + j * kLanes<T>, sum[i][j]);
}

/// A column of tiles, V vectors wide.
template <class T, int V>
void multiply_columns(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t rows, int64_t depth,
                      Write write) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows)
    multiply_tile<T, kTileRows, V>(c + i * ldc, ldc, a.from(i, 0), b, ldb, depth, write);
  c += i * ldc;
  a = a.from(i, 0);
  switch (rows - i) {
    case 5: return multiply_tile<T, 5, V>(c, ldc, a, b, ldb, depth, write);
    case 4: return multiply_tile<T, 4, V>(c, ldc, a, b, ldb, depth, write);
    case 3: return multiply_tile<T, 3, V>(c, ldc, a, b, ldb, depth, write);
    case 2: return multiply_tile<T, 2, V>(c, ldc, a, b, ldb, depth, write);
    case 1: return multiply_tile<T, 1, V>(c, ldc, a, b, ldb, depth, write);
    default: return;
  }
}

/// c (rows, cols) by `write`, from a (rows, depth) and b (depth, cols). c overlaps neither.
template <class T>
void multiply(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t rows, int64_t cols, int64_t depth,
              Write write) {
  constexpr int64_t kWide = kTileVectors * kLanes<T>, kFewWide = kFewTileVectors * kLanes<T>;
  int64_t j = 0;
  if (rows <= kFewTileRows)
    for (; j + kFewWide <= cols; j += kFewWide)
      multiply_columns<T, kFewTileVectors>(c + j, ldc, a, b + j, ldb, rows, depth, write);
  for (; j + kWide <= cols; j += kWide)
    multiply_columns<T, kTileVectors>(c + j, ldc, a, b + j, ldb, rows, depth, write);
  if (j + 2 * kLanes<T> <= cols) {
    multiply_columns<T, 2>(c + j, ldc, a, b + j, ldb, rows, depth, write);
    j += 2 * kLanes<T>;
  }
  if (j + kLanes<T> <= cols) {
    multiply_columns<T, 1>(c + j, ldc, a, b + j, ldb, rows, depth, write);
    j += kLanes<T>;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t column = j; column < cols; ++column) {
      T sum = write == Write::add ? c[i * ldc + column] : T(0);
      for (int64_t k = 0; k < depth; ++k) sum += a.data[i * a.row + k * a.column] * b[k * ldb + column];
      c[i * ldc + column] = sum;
    }
}

/// One round of sums_of: x[i] and x[i + step] become one vector, where lanes whose number has the bit `step` belong to
/// the second. Each lane adds its partner's number, `step` lanes away, to its own.
template <class T, int step, size_t... lane>
inline void fold(Vector<T>* x, std::index_sequence<lane...>) {
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  constexpr int kSecond = static_cast<int>(kLanes<T>);
  constexpr Vector<Index> own = {static_cast<Index>((lane & step) ? lane + kSecond : lane)...};
  constexpr Vector<Index> partner = {static_cast<Index>((lane & step) ? (lane ^ step) + kSecond : lane ^ step)...};
#pragma GCC unroll 8
  for (int i = 0; i < step; ++i)
    x[i] = __builtin_shuffle(x[i], x[i + step], own) + __builtin_shuffle(x[i], x[i + step], partner);
  if constexpr (step > 1) fold<T, step / 2>(x, std::index_sequence<lane...>{});
}

/// Sums of the elements of kLanes vectors: lane i of the result is the sum of x[i].
template <class T>
inline Vector<T> sums_of(Vector<T>* x) {
  fold<T, static_cast<int>(kLanes<T>) / 2>(x, std::make_index_sequence<kLanes<T>>{});
  return x[0];
}

/// Dot products of A rows of a with kLanes / A rows of b, each `depth` long: lane i * (kLanes / A) + j is that of row i
/// of a and row j of b. All are summed in the same order.
template <class T, int A>
inline Vector<T> full_dots(const T* a, int64_t stride_a, const T* b, int64_t stride_b, int64_t depth) {
  constexpr int B = static_cast<int>(kLanes<T>) / A;
  Vector<T> sum[A * B] = {};
  int64_t k = 0;
  for (; k + kLanes<T> <= depth; k += kLanes<T>) {
    Vector<T> x[A];
#pragma GCC unroll 16
    for (int i = 0; i < A; ++i) x[i] = load(a + i * stride_a + k);
#pragma GCC unroll 16
    for (int j = 0; j < B; ++j) {
      const Vector<T> y = load(b + j * stride_b + k);
#pragma GCC unroll 16
      for (int i = 0; i < A; ++i) sum[i * B + j] += x[i] * y;
    }
  }
  Vector<T> total = sums_of<T>(sum);
  if (k == depth) return total;
  T tail[kLanes<T>];
  store(tail, total);
  for (; k < depth; ++k)
    for (int i = 0; i < A; ++i)
      for (int j = 0; j < B; ++j) tail[i * B + j] += a[i * stride_a + k] * b[j * stride_b + k];
  return load(tail);
}

/// The same where there may be fewer rows: only count_a of a's and count_b of b's are read, the other lanes mean
/// nothing.
template <class T, int A>
Vector<T> dots(const T* a, int64_t stride_a, int64_t count_a, const T* b, int64_t stride_b, int64_t count_b,
               int64_t depth) {
  constexpr int B = static_cast<int>(kLanes<T>) / A;
  if (count_a >= A && count_b >= B) return full_dots<T, A>(a, stride_a, b, stride_b, depth);
  T tile[kLanes<T>] = {};
  for (int64_t i = 0; i < std::min<int64_t>(A, count_a); ++i)
    for (int64_t j = 0; j < std::min<int64_t>(B, count_b); ++j)
      tile[i * B + j] = full_dots<T, 1>(a + i * stride_a, 0, b + j * stride_b, 0, depth)[0];
  return load(tile);
}

/// One round of transpose_square: x[i] and x[i + step], for i without the bit `step`, exchange the lanes that lie on
/// the wrong side of the diagonal.
template <class T, int step, size_t... lane>
inline void exchange(Vector<T>* x, std::index_sequence<lane...>) {
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  constexpr int kSecond = static_cast<int>(kLanes<T>);
  constexpr Vector<Index> upper = {static_cast<Index>((lane & step) ? lane - step + kSecond : lane)...};
  constexpr Vector<Index> lower = {static_cast<Index>((lane & step) ? lane + kSecond : lane + step)...};
#pragma GCC unroll 16
  for (int i = 0; i < kSecond; ++i) {
    if (i & step) continue;
    const Vector<T> above = x[i], below = x[i + step];
    x[i] = __builtin_shuffle(above, below, upper);
    x[i + step] = __builtin_shuffle(above, below, lower);
  }
  if constexpr (step > 1) exchange<T, step / 2>(x, std::index_sequence<lane...>{});
}

/// Transposes a square of kLanes vectors.
template <class T>
inline void transpose_square(Vector<T>* x) {
  exchange<T, static_cast<int>(kLanes<T>) / 2>(x, std::make_index_sequence<kLanes<T>>{});
}

/// to (cols, padded rows) = transposed from (rows, cols); the columns of `to` beyond `rows` become zero.
template <class T>
void transpose(T* to, int64_t ldt, const T* from, int64_t ldf, int64_t rows, int64_t cols, int64_t padded) {
  constexpr int64_t kSide = kLanes<T>;
  for (int64_t i = 0; i < padded; i += kSide) {
    const int64_t width = std::min(kSide, padded - i), present = std::clamp<int64_t>(rows - i, 0, width);
    int64_t j = 0;
    for (; width == kSide && j + kSide <= cols; j += kSide) {
      Vector<T> x[kSide] = {};
      for (int64_t r = 0; r < present; ++r) x[r] = load(from + (i + r) * ldf + j);
      transpose_square<T>(x);
      for (int64_t r = 0; r < kSide; ++r) store(to + (j + r) * ldt + i, x[r]);
    }
    for (; j < cols; ++j)
      for (int64_t r = 0; r < width; ++r) to[j * ldt + i + r] = r < present ? from[(i + r) * ldf + j] : T(0);
  }
}

}  // namespace thinker
