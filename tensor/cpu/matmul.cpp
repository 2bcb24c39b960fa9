// Matrix products. F32 goes to oneDNN (onednn.h); very few rows against a large weight, where the time is that of
// reading the weight, go to a loop of our own. F64 (gradient checks) is ours too. Factors that are rounded to bf16 go
// to the tile unit where there is one (tiled_product.h). A weight that meets few rows again and again (decoding) can be
// packed first, into oneDNN's own layout, into panels (panels.h) or tiles: otherwise every product spends a third of
// its time on rearranging it.
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/onednn.h"
#include "tensor/cpu/panels.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/round.h"
#include "tensor/cpu/streams.h"
#include "tensor/cpu/tiled_product.h"

namespace thinker {

CpuBackend::CpuBackend() : products_(std::make_unique<Products>()) {}
CpuBackend::~CpuBackend() = default;

namespace {

/// Up to this many rows of a, dot products beat oneDNN: the time is that of reading b.
constexpr int64_t kFewRows = 4;
constexpr int64_t kFewPackedRows = 2;  // where b is also there packed

/// out (n) = a (k) . b (n, k)^T by dot products. (With AVX-512, where a register has 16 sums, as many streams were not
/// measured: there b is read row after row.)
void multiply_row(float* out, const float* a, const float* b, int64_t n, int64_t k, Write write) {
  constexpr int kRows = static_cast<int>(kLanes<float>);
  constexpr int64_t kApart = kVectorBytes == 32 ? kMostApart : 1;
  parallel_ranges(n, k, [&](int64_t begin, int64_t end) {
    const auto rows = [&](int64_t j, int64_t apart, int64_t count) {
      float sums[kRows];
      store(sums, dots<float, 1>(a, k, 1, b + j * k, apart * k, count, k));
      for (int64_t i = 0; i < count; ++i) {
        float& to = out[j + i * apart];
        to = write == Write::add ? to + sums[i] : sums[i];
      }
    };
    for_streams<kRows>(
        begin, end, kApart, [&](int64_t j, int64_t apart) { rows(j, apart, kRows); },
        [&](int64_t j) { rows(j, 1, 1); });
  });
}

/// out (m, n) = a (m, k) . b (n, k)^T by dot products, A rows of a at a time: b is read once, row after row.
template <int A>
void multiply_dots(float* out, const float* a, const float* b, int64_t m, int64_t n, int64_t k, Write write) {
  constexpr int64_t B = kLanes<float> / A;
  parallel_ranges((n + B - 1) / B, B * k, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin * B; j < std::min(n, end * B); j += B)
      for (int64_t i = 0; i < m; i += A) {
        float tile[kLanes<float>];
        store(tile, dots<float, A>(a + i * k, k, m - i, b + j * k, k, n - j, k));
        const int64_t columns = std::min(n - j, B);
        for (int64_t row = i; row < std::min(m, i + A); ++row) {
          float* to = out + row * n + j;
          const float* from = tile + (row - i) * B;
          if (write == Write::add)
            for (int64_t c = 0; c < columns; ++c) to[c] += from[c];
          else
            std::copy(from, from + columns, to);
        }
      }
  });
}

void multiply_few(float* out, const float* a, const float* b, int64_t m, int64_t n, int64_t k, Write write) {
  if (m == 1)
    multiply_row(out, a, b, n, k, write);
  else if (m == 2)
    multiply_dots<2>(out, a, b, m, n, k, write);
  else
    multiply_dots<4>(out, a, b, m, n, k, write);
}

void multiply_onednn(Products& products, float* out, const void* a, const void* b, const ProductKey& key) {
  try {
    products.multiply(out, a, b, key);
  } catch (const dnnl::error& e) {
    fail("[matmul] oneDNN refused (", key.m, ", ", key.k, ") x (", key.k, ", ", key.n, "): ", e.what());
  }
}

/// to = from rounded to bf16, kept as bf16 or as floats.
template <class T>
void round_factors(T* to, const float* from, int64_t n) {
  parallel_ranges(n, 1, [&](int64_t begin, int64_t end) { cpu::round_to_bf16(to + begin, from + begin, end - begin); });
}

/// Calls f with a T for the numbers that factors, or packed weights, are kept as.
template <class F>
auto with_factor(DType t, const F& f) {
  return t == DType::BF16 ? f(bf16{}) : f(float{});
}

/// Whether weights are packed into panels: oneDNN has no layout of its own for processors without AVX-512. (Where this
/// program is not compiled for AVX, oneDNN's instructions are still the better ones.)
bool packs_panels() {
  static const bool panels = kVectorBytes >= 32 && !onednn_has(dnnl::cpu_isa::avx512_core);
  return panels;
}

/// out (m, n) for F64. A transposed b is turned back, one column of tiles at a time.
template <class T>
void multiply_plain(T* out, const T* a, const T* b, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb,
                    Write write, Scratch& scratch) {
  constexpr int64_t kColumns = 64;
  T* turned = scratch.take<T>(tb == Transpose::yes ? omp_get_max_threads() * k * kColumns : 1);
  const Strided<T> left = ta == Transpose::yes ? Strided<T>{a, 1, m} : Strided<T>{a, k, 1};
  parallel_ranges((n + kColumns - 1) / kColumns, m * k * kColumns, [&](int64_t begin, int64_t end) {
    T* block = turned + omp_get_thread_num() * k * kColumns;
    for (int64_t j = begin * kColumns; j < std::min(n, end * kColumns); j += kColumns) {
      const int64_t cols = std::min(kColumns, n - j);
      if (tb == Transpose::yes) {
        transpose(block, cols, b + j * k, k, cols, k, cols);
        multiply(out + j, n, left, block, cols, m, cols, k, write);
      } else {
        multiply(out + j, n, left, b + j, n, m, cols, k, write);
      }
    }
  });
}

}  // namespace

void CpuBackend::matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta,
                        Transpose tb, DType t, DType out_t, Write write) {
  ENSURE(out_t == t, "[matmul] a product of ", name(t), " into ", name(out_t), " is not available on the CPU");
  if (m == 0 || n == 0) return;
  count_product(m, n, k);
  if (k == 0) {
    if (write == Write::set) fill_zero(out, m * n * size_of(t));
    return;
  }
  with_scalar("matmul", t, [&]<class T>(T) {
    T* to = static_cast<T*>(out);
    const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
    if constexpr (std::is_same_v<T, double>) {
      multiply_plain(to, left, right, m, n, k, ta, tb, write, scratch_);
    } else {
      multiply_f32(to, left, right, m, n, k, ta, tb, write);
    }
  });
}

void CpuBackend::multiply_f32(float* out, const float* a, const float* b, int64_t m, int64_t n, int64_t k, Transpose ta,
                              Transpose tb, Write write) {
  if (m <= kFewRows && ta == Transpose::no && tb == Transpose::yes) return multiply_few(out, a, b, m, n, k, write);
  const Layout layout = tb == Transpose::yes ? Layout::columns : Layout::rows;
  const ProductKey key{m, n, k, ta, layout, write, factor_dtype_, omp_get_max_threads()};
  if (product_dtype_ == DType::F32) return multiply_onednn(*products_, out, a, b, key);
  if constexpr (tiles::kCompiled)
    if (tiles::multiplies(factor_dtype_)) {
      const Strided<float> left = ta == Transpose::yes ? Strided<float>{a, 1, m} : Strided<float>{a, k, 1};
      const Strided<float> right = tb == Transpose::yes ? Strided<float>{b, k, 1} : Strided<float>{b, 1, n};
      return tiles::multiply_rounded(out, left, right, m, n, k, write, scratch_);
    }
  with_factor(factor_dtype_, [&]<class T>(T) {
    T* left = scratch_.take<T>(m * k + n * k + 32);
    T* right = left + (m * k + 31) / 32 * 32;
    round_factors(left, a, m * k);
    round_factors(right, b, n * k);
    multiply_onednn(*products_, out, left, right, key);
  });
}

bool CpuBackend::set_product_dtype(DType t) {
  ENSURE(t == DType::F32 || t == DType::BF16, "[matmul] products in ", name(t));
  product_dtype_ = t;
  // Without instructions for them oneDNN's products of bf16 factors take five times as long as of floats.
  factor_dtype_ = onednn_has(dnnl::cpu_isa::avx512_core_bf16) ? t : DType::F32;
  return factor_dtype_ == product_dtype_;
}

int64_t CpuBackend::packed_bytes(int64_t n, int64_t k, DType t) {
  if (t != DType::F32) return 0;
  if (tiles::multiplies(factor_dtype_)) return tiles::packed_bytes(n, k);
  if (!packs_panels()) return static_cast<int64_t>(products_->packed_layout(n, k, factor_dtype_).get_size());
  return with_factor(product_dtype_, [&]<class T>(T) { return panels::bytes<T>(n, k); });
}

void CpuBackend::pack(void* packed, const void* weight, int64_t n, int64_t k, DType t) {
  ENSURE(t == DType::F32, "[pack] of ", name(t));
  const float* from = static_cast<const float*>(weight);
  if constexpr (tiles::kCompiled)
    if (tiles::multiplies(factor_dtype_)) return tiles::pack_weight(static_cast<std::byte*>(packed), from, n, k);
  if (packs_panels())
    return with_factor(product_dtype_,
                       [&]<class T>(T) { panels::pack<T>(static_cast<uint32_t*>(packed), from, n, k); });
  if (product_dtype_ == DType::F32) return products_->pack(packed, weight, n, k, t);
  with_factor(factor_dtype_, [&]<class T>(T) {
    T* rounded = scratch_.take<T>(n * k);
    round_factors(rounded, from, n * k);
    products_->pack(packed, rounded, n, k, factor_dtype_);
  });
}

void CpuBackend::matmul_weights(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t) {
  if (m == 0) return;
  std::vector<LinearProduct> packed;
  for (const LinearProduct& p : products)
    if (p.packed)
      packed.push_back(p);
    else
      matmul(p.out, a, p.weight, m, p.n, k, Transpose::no, Transpose::yes, t, t, Write::set);
  if (packed.empty()) return;
  ENSURE(t == DType::F32, "[matmul_weights] packed weights of ", name(t));
  for (const LinearProduct& p : packed) count_product(m, p.n, k);
  multiply_packed(packed, static_cast<const float*>(a), m, k);
}

void CpuBackend::multiply_packed(std::span<const LinearProduct> products, const float* a, int64_t m, int64_t k) {
  if constexpr (tiles::kCompiled)
    if (tiles::multiplies(factor_dtype_)) return tiles::multiply_weights(products, a, m, k, scratch_);
  const void* left = a;
  if (product_dtype_ == DType::BF16)
    with_factor(packs_panels() ? DType::F32 : factor_dtype_, [&]<class T>(T) {
      T* rounded = scratch_.take<T>(m * k);
      round_factors(rounded, a, m * k);
      left = rounded;
    });
  for (const LinearProduct& p : products) {
    float* out = static_cast<float*>(p.out);
    if (packs_panels())
      with_factor(product_dtype_, [&]<class T>(T) {
        panels::multiply<T>(out, static_cast<const float*>(left), static_cast<const uint32_t*>(p.packed), m, p.n, k);
      });
    else if (product_dtype_ == DType::F32 && m <= kFewPackedRows)
      multiply_few(out, a, static_cast<const float*>(p.weight), m, p.n, k, Write::set);
    else
      multiply_onednn(*products_, out, left, p.packed,
                      {m, p.n, k, Transpose::no, Layout::packed, Write::set, factor_dtype_, omp_get_max_threads()});
  }
}

}  // namespace thinker
