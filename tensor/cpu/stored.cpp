// Products with, and rows of, weights that are stored in fewer bits than they are computed with. With few rows of a
// the time is that of reading the weight: each of its rows is read once, widened in registers and multiplied by up to
// kTogether rows of a; one row alone has kernels of its own (stored_row.h). With many rows the weight is widened as a
// whole and the product is one of fp32 (or bf16) factors.
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/stored_row.h"

namespace thinker {

namespace {

using stored::kNumbers;
using stored::kVectors;

constexpr int64_t kMostRows = 32;  // up to this many, widening in registers beats widening the whole weight
constexpr int kTogether = 8;       // rows of a whose sums fit into registers
constexpr int kLane = static_cast<int>(kLanes<float>);

/// Calls f with the struct of a stored type.
template <class F>
void with_format(const char* op, DType t, const F& f) {
  switch (t) {
    case DType::BF16: return f(stored::BFloat16{});
    case DType::Q4_0: return f(stored::Q4_0{});
    case DType::Q4_1: return f(stored::Q4_1{});
    case DType::Q8_0: return f(stored::Q8_0{});
    default: ENSURE(false, "[", op, "] does not read weights stored as ", name(t));
  }
}

/// sums[i][lane r] = part sums of row i of a (stride lda) times one row of the weight; added up in the same order for
/// every number of rows A.
template <class Format, int A>
inline void multiply_row(std::array<Vector<float>, A>& sums, const float* a, int64_t lda, int64_t k,
                         const std::byte* weight) {
  constexpr int64_t kAhead = 2048;  // bytes of the one stream here; the processor alone fetches too late
  Vector<float> sum[A][kVectors] = {};
  const auto add = [&](int64_t j, const stored::Widened& w) {
#pragma GCC unroll 8
    for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[i][v] += w[v] * load(a + i * lda + j + v * kLane);
  };
  int64_t j = 0;
  for (; j + kNumbers <= k; j += kNumbers, weight += Format::kBytes) {
    __builtin_prefetch(weight + kAhead);
    stored::Widened w;
    stored::widen_for_product<Format>(w, weight);
    add(j, w);
  }
  if (j < k) {
    stored::Widened w;
    stored::widen_part<Format>(w, weight, k - j, stored::widen_for_product<Format>);
    add(j, w);
  }
#pragma GCC unroll 8
  for (int i = 0; i < A; ++i) {
    sums[i] = sum[i][0];
#pragma GCC unroll 8
    for (int v = 1; v < kVectors; ++v) sums[i] += sum[i][v];
  }
}

/// out (A, n) at its columns [begin, end), a (A, lda), weight with n rows.
template <class Format, int A>
void multiply_columns(float* out, const float* a, int64_t lda, const stored::StoredRows& weight, int64_t n,
                      int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j += kLane) {
    const int64_t columns = std::min<int64_t>(kLane, end - j);
    Vector<float> sums[A][kLane] = {};
    for (int64_t c = 0; c < columns; ++c) {
      std::array<Vector<float>, A> of_row;
      multiply_row<Format, A>(of_row, a, lda, weight.k, weight.row(j + c));
      for (int i = 0; i < A; ++i) sums[i][c] = of_row[i];
    }
    for (int i = 0; i < A; ++i) {
      float tile[kLane];
      store(tile, sums_of<float>(sums[i]));
      std::copy(tile, tile + columns, out + i * n + j);
    }
  }
}

/// The same for any number of rows of a: eight at a time, while the columns' weights are in the nearest caches.
template <class Format>
void multiply_rows(float* out, const float* a, int64_t lda, const stored::StoredRows& weight, int64_t m, int64_t n,
                   int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 64;
  for (int64_t j = begin; j < end; j += kColumns) {
    const int64_t stop = std::min(end, j + kColumns);
    const auto part = [&]<int A>(int64_t i) {
      multiply_columns<Format, A>(out + i * n, a + i * lda, lda, weight, n, j, stop);
    };
    int64_t i = 0;
    for (; i + kTogether <= m; i += kTogether) part.template operator()<kTogether>(i);
    if (m - i >= 4) part.template operator()<4>(i), i += 4;
    if (m - i >= 2) part.template operator()<2>(i), i += 2;
    if (m - i >= 1) part.template operator()<1>(i);
  }
}

/// One thread's columns [begin, end) of a product. `memory` holds m rows of a, each rounded up to whole kNumbers.
template <class Format>
void multiply(const StoredProduct& product, const float* a, int64_t m, int64_t k, int64_t begin, int64_t end,
              float* memory) {
  float* out = static_cast<float*>(product.out);
  const stored::StoredRows weight{static_cast<const std::byte*>(product.weight), k, bytes_of(product.weight_t, k)};
#if defined(__AVX512F__) && defined(__F16C__)
  if constexpr (!std::is_same_v<Format, stored::BFloat16>)
    if (m == 1) {
      if constexpr (std::is_same_v<Format, stored::Q4_1>) stored::sum_blocks(memory, a, k);
      return stored::multiply_streams(out, stored::BlockRow<Format>{a, memory, weight}, begin, end);
    }
#endif
  int64_t lda = k;
  if constexpr (std::is_same_v<Format, stored::BFloat16>) {
    lda = stored::padded(k);
    for (int64_t i = 0; i < m; ++i) Format::shuffle(memory + i * lda, a + i * k, k);
    a = memory;
  }
  if (m == 1) return stored::multiply_streams(out, stored::WidenedRow<Format>{a, weight}, begin, end);
  multiply_rows<Format>(out, a, lda, weight, m, product.n, begin, end);
}

/// to (n) = fp32 values.
template <class Format>
void widen_range(float* to, const std::byte* from, int64_t n) {
  for (int64_t j = 0; j < n; j += kNumbers, from += Format::kBytes) {
    stored::Widened w;
    stored::widen_part<Format>(w, from, n - j, Format::widen);
    if (n - j >= kNumbers) {
      for (int v = 0; v < kVectors; ++v) store(to + j + v * kLane, w[v]);
    } else {
      float rest[kNumbers];
      for (int v = 0; v < kVectors; ++v) store(rest + v * kLane, w[v]);
      std::copy(rest, rest + (n - j), to + j);
    }
  }
}

}  // namespace

/// A product with many rows of a: the whole weight in fp32 first.
void CpuBackend::multiply_widened(const StoredProduct& product, const float* a, int64_t m, int64_t k) {
  const int64_t n = product.n;
  float* wide = widened_.take<float>(n * k);
  with_format("matmul_stored", product.weight_t, [&]<class Format>(Format) {
    parallel_ranges((n * k + kNumbers - 1) / kNumbers, kNumbers, [&](int64_t begin, int64_t end) {
      widen_range<Format>(wide + begin * kNumbers,
                          static_cast<const std::byte*>(product.weight) + begin * Format::kBytes,
                          std::min(n * k, end * kNumbers) - begin * kNumbers);
    });
  });
  multiply_f32(static_cast<float*>(product.out), a, wide, m, n, k, Transpose::no, Transpose::yes, Write::set);
}

void CpuBackend::matmul_stored(std::span<const StoredProduct> products, const void* a, int64_t m, int64_t k, DType t) {
  ENSURE(t == DType::F32, "[matmul_stored] into ", name(t));
  if (m == 0) return;
  for (const StoredProduct& product : products) count_product(m, product.n, k);
  const float* left = static_cast<const float*>(a);
  if (m > kMostRows) {
    for (const StoredProduct& product : products) multiply_widened(product, left, m, k);
    return;
  }
  // The columns of all products, one after the other, in groups of kLane: each thread has one range of them. (Threads
  // that take small parts as they get done are slower: memory is read best in long runs.)
  const auto groups = [](const StoredProduct& product) { return (product.n + kLane - 1) / kLane; };
  int64_t total = 0;
  for (const StoredProduct& product : products) total += groups(product);
  const int64_t room = m * stored::padded(k);
  float* memory = scratch_.take<float>(omp_get_max_threads() * room);
  parallel_ranges(total, m * k * kLane, [&](int64_t begin, int64_t end) {
    float* of_thread = memory + omp_get_thread_num() * room;
    int64_t first = 0;
    for (const StoredProduct& product : products) {
      const int64_t from = std::max<int64_t>(begin - first, 0) * kLane;
      const int64_t to = std::min((end - first) * kLane, product.n);
      first += groups(product);
      if (from >= to) continue;
      with_format("matmul_stored", product.weight_t,
                  [&]<class Format>(Format) { multiply<Format>(product, left, m, k, from, to, of_thread); });
    }
  });
}

void CpuBackend::gather_stored(void* y, const void* table, const int32_t* index, int64_t n, int64_t c, DType table_t,
                               DType t) {
  ENSURE(t == DType::F32, "[gather_stored] into ", name(t));
  const int64_t row_bytes = bytes_of(table_t, c);
  with_format("gather_stored", table_t, [&]<class Format>(Format) {
    parallel_ranges(n, c, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        widen_range<Format>(static_cast<float*>(y) + i * c, static_cast<const std::byte*>(table) + index[i] * row_bytes,
                            c);
    });
  });
}

}  // namespace thinker
