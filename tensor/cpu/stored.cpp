// Products with, and rows of, weights that are stored in fewer bits than they are computed with. With few rows of a
// the time is that of reading the weight once. Blocks are multiplied as integers where the processor can
// (stored_groups.h); otherwise each row of the weight is widened in registers and multiplied by up to kTogether rows of
// a, or by one from several places at once (stored_row.h); with many rows of a the weight is widened first, as a whole
// or (without AVX-512) panel by panel, and the product is one of fp32 (or bf16) factors.
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/panels.h"
#include "tensor/cpu/stored_integers_avx2.h"
#include "tensor/cpu/stored_integers_vnni.h"
#include "tensor/cpu/stored_row.h"

namespace thinker {

namespace {

using stored::kGroup;
using stored::kNumbers;
using stored::kVectors;

constexpr int kTogether = kVectorBytes == 64 ? 8 : 3;  // rows of a whose sums fit into registers
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

/// The same for any number of rows of a: kTogether at a time, while the columns' weights are in the nearest caches.
template <class Format>
void multiply_rows(float* out, const float* a, int64_t lda, const stored::StoredRows& weight, int64_t m, int64_t n,
                   int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 64;
  for (int64_t j = begin; j < end; j += kColumns) {
    const int64_t stop = std::min(end, j + kColumns);
    stored::for_rows_together<kTogether>(
        m, [&]<int A>(int64_t i) { multiply_columns<Format, A>(out + i * n, a + i * lda, lda, weight, n, j, stop); });
  }
}

int64_t groups_of(int64_t rows) {
  return (rows + kGroup - 1) / kGroup;
}

/// Calls body(j, rows) for the groups of a weight (n, k), each from row j on, on all threads.
template <class Body>
void for_groups(int64_t n, int64_t k, const Body& body) {
  parallel_ranges(groups_of(n), kGroup * k, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin * kGroup; j < std::min(n, end * kGroup); j += kGroup) body(j, std::min(kGroup, n - j));
  });
}

stored::StoredRows rows_of(const void* weight, int64_t k, DType t) {
  return {static_cast<const std::byte*>(weight), k, bytes_of(t, k)};
}

/// Rows of a in the forms that the formats want them in.
struct Activations {
  const float* plain;                    // (m, k)
  const float* shuffled;                 // (m, padded(k)), for BFloat16
  const stored::IntegerBlock* integers;  // (m, k / kNumbers), for groups
};

/// What the products need of them.
Activations prepare_rows(std::span<const StoredProduct> products, const float* a, int64_t m, int64_t k,
                         Scratch& scratch) {
  const auto is_bf16 = [](const StoredProduct& product) { return product.weight_t == DType::BF16; };
  const bool shuffled = std::any_of(products.begin(), products.end(), is_bf16);
  const bool integers = stored::kHasGroups && !std::all_of(products.begin(), products.end(), is_bf16);
  const int64_t padded = stored::padded(k), size = m * padded;
  const int64_t room = size / kNumbers * static_cast<int64_t>(sizeof(stored::IntegerBlock));
  float* memory = scratch.take<float>(size + room / static_cast<int64_t>(sizeof(float)));
  auto* blocks = reinterpret_cast<stored::IntegerBlock*>(memory + size);
  if (shuffled)
    parallel_ranges(m, k, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) stored::BFloat16::shuffle(memory + i * padded, a + i * k, k);
    });
  if (integers)
    parallel_ranges(size / kNumbers, 4 * kNumbers, [&](int64_t begin, int64_t end) {
      if constexpr (stored::kHasGroups)
        for (int64_t b = begin; b < end; ++b) stored::to_integers(blocks[b], a + b * kNumbers);
    });
  return {a, memory, blocks};
}

/// out (m, n) at its columns [begin, end), for m rows of a, at most kMostRows; begin is a multiple of kGroup.
template <class Format>
void multiply_groups(float* out, int64_t n, const stored::IntegerBlock* a, const stored::StoredRows& weight, int64_t m,
                     int64_t begin, int64_t end) {
  const int64_t blocks = weight.k / kNumbers, whole = end / kGroup;
  int64_t group = begin / kGroup;
  const auto one = [&](int64_t i) {
    const int64_t j = i * kGroup;
    stored::multiply_group<Format>(out + j, n, weight.row(j), std::min(kGroup, end - j), a, m, blocks);
  };
  if constexpr (stored::kGroupsApart)
    if (m == 1) {
      const auto several = [&](int64_t i, int64_t apart) {
        stored::multiply_groups_apart<Format>(out + i * kGroup, weight.row(i * kGroup), apart, a, blocks);
      };
      for_streams<stored::BlockParts<Format>::kStreams>(group, whole, kMostApart, several, one);
      group = whole;
    }
  for (; group < groups_of(end); ++group) one(group);
}

/// One thread's columns [begin, end) of a product; begin is a multiple of kGroup.
template <class Format>
void multiply(const StoredProduct& product, const Activations& a, int64_t m, int64_t k, int64_t begin, int64_t end) {
  float* out = static_cast<float*>(product.out);
  const stored::StoredRows weight = rows_of(product.weight, k, product.weight_t);
  if constexpr (stored::kGrouped<Format>) {
    for (int64_t i = 0; i < m; i += stored::kMostRows)
      multiply_groups<Format>(out + i * product.n, product.n, a.integers + i * (k / kNumbers), weight,
                              std::min(m - i, stored::kMostRows), begin, end);
  } else {
    constexpr bool kShuffled = std::is_same_v<Format, stored::BFloat16>;
    const float* rows = kShuffled ? a.shuffled : a.plain;
    if (m == 1) return stored::multiply_streams<Format>(out, rows, weight, begin, end);
    multiply_rows<Format>(out, rows, kShuffled ? stored::padded(k) : k, weight, m, product.n, begin, end);
  }
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

/// to (k) = row j of a weight of n rows, in fp32.
template <class Format>
void widen_row(float* to, const stored::StoredRows& weight, int64_t j, int64_t n) {
  if constexpr (stored::kGrouped<Format>) {
    const int64_t row = j % kGroup, rows = std::min(kGroup, n - (j - row));
    const std::byte* block = weight.row(j - row);
    for (int64_t i = 0; i < weight.k; i += kNumbers, block += rows * Format::kBytes)
      widen_range<Format>(to + i, stored::from_group<Format>(block, row, rows).data(), kNumbers);
  } else {
    widen_range<Format>(to, weight.row(j), weight.k);
  }
}

/// to (rows, k) = the rows from j on, a group or what is left of one, in fp32.
template <class Format>
void widen_group(float* to, const stored::StoredRows& weight, int64_t j, int64_t rows) {
  const std::byte* block = weight.row(j);
  if constexpr (stored::kGrouped<Format>) {
    for (int64_t i = 0; i < weight.k; i += kNumbers, block += rows * Format::kBytes) {
      // All rows before the first is read: what was just written in small parts cannot be read at once as a whole.
      std::array<std::byte, Format::kBytes> of_row[kGroup];
      for (int64_t r = 0; r < rows; ++r) of_row[r] = stored::from_group<Format>(block, r, rows);
      for (int64_t r = 0; r < rows; ++r) widen_range<Format>(to + r * weight.k + i, of_row[r].data(), kNumbers);
    }
  } else {
    widen_range<Format>(to, block, rows * weight.k);
  }
}

/// The numbers of a panel (panels.h) made of a weight: BF16 stays as it is.
template <class Format>
using PanelNumber = std::conditional_t<std::is_same_v<Format, stored::BFloat16>, bf16, float>;

/// panel = the V vectors of a weight's columns from `first` on, of which there are n; k is even for BFloat16.
template <class Format, int V>
void fill_panel(uint32_t* panel, const stored::StoredRows& weight, int64_t first, int64_t n) {
  constexpr int64_t kWidth = V * kGroup;
  float* to = reinterpret_cast<float*>(panel);
  if constexpr (std::is_same_v<Format, stored::BFloat16>) {
    // Two numbers of a row are a word of the panel already, and words can be transposed as if they were floats.
    const auto* rows = reinterpret_cast<const float*>(weight.row(first));
    transpose(to, kWidth, rows, weight.k / 2, std::min(kWidth, n - first), weight.k / 2, kWidth);
  } else {
    for (int64_t j = first; j < std::min(n, first + kWidth); j += kGroup)
      stored::widen_columns<Format>(to + (j - first), kWidth, weight.row(j), std::min(kGroup, n - j),
                                    weight.k / kNumbers);
  }
}

/// A product with many rows of a: each thread makes a panel of columns after the other, which stays in its caches.
template <class Format>
void multiply_in_panels(const StoredProduct& product, const float* a, int64_t m, int64_t k, Scratch& scratch) {
  using W = PanelNumber<Format>;
  const int64_t n = product.n, words = panels::kWide * panels::vector_words<W>(k);
  const stored::StoredRows weight = rows_of(product.weight, k, product.weight_t);
  uint32_t* memory = scratch.take<uint32_t>(omp_get_max_threads() * words);
  panels::for_panels(n, m * k, [&](int64_t begin, int64_t end) {
    uint32_t* panel = memory + omp_get_thread_num() * words;
    const auto one = [&]<int V>(int64_t vector) {
      const int64_t first = vector * kGroup;
      fill_panel<Format, V>(panel, weight, first, n);
      panels::multiply_panel<W, V>(static_cast<float*>(product.out) + first, n, n - first, a, panel, m, k);
    };
    int64_t first = begin;
    for (; first + panels::kWide <= end; first += panels::kWide) one.template operator()<panels::kWide>(first);
    for (; first < end; ++first) one.template operator()<1>(first);
  });
}

}  // namespace

void CpuBackend::store_weight(void* weight, const void* host_rows, int64_t n, int64_t k, DType t) {
  const int64_t row_bytes = bytes_of(t, k);
  if (!stored::kHasGroups || block_elements(t) == 1) return copy_from_host(weight, host_rows, n * row_bytes);
  with_format("store_weight", t, [&]<class Format>(Format) {
    for_groups(n, k, [&](int64_t j, int64_t rows) {
      stored::to_group<Format>(static_cast<std::byte*>(weight) + j * row_bytes,
                               static_cast<const std::byte*>(host_rows) + j * row_bytes, rows, k);
    });
  });
}

/// A product with many rows of a: in fp32.
void CpuBackend::multiply_widened(const StoredProduct& product, const float* a, int64_t m, int64_t k) {
  const int64_t n = product.n;
  with_format("matmul_stored", product.weight_t, [&]<class Format>(Format) {
    if constexpr (stored::kHasGroups && !stored::kFastIntegers)
      if (product_dtype_ == DType::F32 && k % 2 == 0) return multiply_in_panels<Format>(product, a, m, k, widened_);
    float* wide = widened_.take<float>(n * k);
    for_groups(n, k, [&](int64_t j, int64_t rows) {
      widen_group<Format>(wide + j * k, rows_of(product.weight, k, product.weight_t), j, rows);
    });
    multiply_f32(static_cast<float*>(product.out), a, wide, m, n, k, Transpose::no, Transpose::yes, Write::set);
  });
}

void CpuBackend::matmul_stored(std::span<const StoredProduct> products, const void* a, int64_t m, int64_t k, DType t) {
  ENSURE(t == DType::F32, "[matmul_stored] into ", name(t));
  if (m == 0) return;
  for (const StoredProduct& product : products) count_product(m, product.n, k);
  const float* left = static_cast<const float*>(a);
  std::vector<StoredProduct> at_once;
  for (const StoredProduct& product : products) {
    const bool integers = stored::kFastIntegers && product.weight_t != DType::BF16 && factor_dtype_ == DType::F32;
    if (m > stored::kMostRows && !integers)
      multiply_widened(product, left, m, k);
    else
      at_once.push_back(product);
  }
  if (at_once.empty()) return;
  const Activations rows = prepare_rows(at_once, left, m, k, scratch_);
  // Threads that take small parts as they get done are slower: memory is read best in long runs.
  const auto groups = [](const StoredProduct& product) { return groups_of(product.n); };
  parallel_parts(at_once, m * k * kGroup, groups, [&](const StoredProduct& product, int64_t begin, int64_t end) {
    with_format("matmul_stored", product.weight_t, [&]<class Format>(Format) {
      multiply<Format>(product, rows, m, k, begin * kGroup, std::min(end * kGroup, product.n));
    });
  });
}

void CpuBackend::gather_stored(void* y, const void* table, int64_t rows, const int32_t* index, int64_t n, int64_t c,
                               DType table_t, DType t) {
  ENSURE(t == DType::F32, "[gather_stored] into ", name(t));
  with_format("gather_stored", table_t, [&]<class Format>(Format) {
    parallel_ranges(n, c, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        widen_row<Format>(static_cast<float*>(y) + i * c, rows_of(table, c, table_t), index[i], rows);
    });
  });
}

}  // namespace thinker
