// Matrix products. F32 goes to oneDNN, whose primitives are compiled for a shape and kept; very few rows against a
// large weight, where the time is that of reading the weight, go to a loop of our own. F64 (gradient checks) is ours
// too. A weight that meets few rows again and again (decoding) can be packed into oneDNN's own layout first: otherwise
// every product spends a third of its time on rearranging it. The one file that includes oneDNN.
#include <dnnl.hpp>
#include <unordered_map>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/round.h"

namespace thinker {

namespace {

/// How the right factor (K, N) lies in memory: row by row, column by column, or as pack() left it.
enum class Layout { rows, columns, packed };

/// Everything that a compiled product depends on.
struct Key {
  int64_t m, n, k;
  Transpose ta;
  Layout b;
  Write write;
  DType t;  // of both factors
  int threads;

  bool operator==(const Key&) const = default;

  /// Whether b is rearranged into oneDNN's own layout first, which takes its time once for all m rows. oneDNN reads
  /// rows as they lie, and long ones (1,024 numbers and more) meet in the same few places of the nearest cache: such
  /// products ran at 45 to 75 % of the others' speed. Columns it rearranges itself, more slowly.
  bool rearranges() const {
    if (t != DType::F32 || b == Layout::packed) return false;
    return b == Layout::columns ? m >= 1024 : m >= 1536 || (m >= 256 && n >= 1024);
  }
};

struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0;
    for (int64_t x : {key.m, key.n, key.k, int64_t{key.threads},
                      int64_t{16 * (key.t == DType::BF16) + 8 * (key.ta == Transpose::yes) +
                              2 * static_cast<int>(key.b) + (key.write == Write::add)}})
      h = (h ^ static_cast<uint64_t>(x)) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 32);
  }
};

constexpr size_t kMostProducts = 2048;  // kept; the lengths of sequences vary without end

// Compiling a product takes 0.4 ms, more than a small one itself, and batches come with every number of rows. A small
// product is therefore cut into two: as many rows as are a multiple of kCut, which come again soon, and the rest.
constexpr int64_t kCut = 32;
constexpr double kSmall = 5e8;  // multiplications and additions

using dnnl::memory;

memory::data_type onednn(DType t) {
  return t == DType::BF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc matrix(int64_t rows, int64_t cols, Transpose transpose, DType t) {
  return {{rows, cols}, onednn(t), transpose == Transpose::yes ? memory::dims{1, rows} : memory::dims{cols, 1}};
}

}  // namespace

class Products {
 public:
  Products() { dnnl::set_primitive_cache_capacity(0); }  // oneDNN's own, which searches itself for what to drop

  /// out (m, n) = a (m, k) . b (k, n).
  void multiply(float* out, const void* a, const void* b, const Key& key) {
    const bool sums_rows = key.ta == Transpose::yes;  // a weight's gradient: rows of a and b meet
    const int64_t rows = sums_rows ? key.k : key.m, whole = rows / kCut * kCut;
    const bool is_small = 2.0 * static_cast<double>(key.m * key.n * key.k) < kSmall;
    if (!is_small || whole == 0 || whole == rows || (sums_rows && key.b != Layout::rows)) return run(out, a, b, key);
    const auto skip = [&](const void* p, int64_t row) {
      return static_cast<const char*>(p) + whole * row * size_of(key.t);
    };
    Key first = key, rest = key;
    (sums_rows ? first.k : first.m) = whole;
    (sums_rows ? rest.k : rest.m) = rows - whole;
    run(out, a, b, first);
    if (sums_rows) {
      rest.write = Write::add;
      run(out, skip(a, key.m), skip(b, key.n), rest);
    } else {
      run(out + whole * key.n, skip(a, key.k), b, rest);
    }
  }

  /// The layout that oneDNN likes best for a weight in products with a few dozen rows. Where it proposes blocks of 64
  /// columns, 48 are faster by up to a sixth: usual widths (192, 576) then fall evenly to the threads.
  memory::desc packed_layout(int64_t n, int64_t k, DType t) const {
    constexpr int64_t kRows = 32;
    using Tag = memory::format_tag;
    const auto weight = [&](Tag tag) { return memory::desc({k, n}, onednn(t), tag); };
    const dnnl::matmul::desc product(matrix(kRows, k, Transpose::no, t), weight(Tag::any),
                                     matrix(kRows, n, Transpose::no, DType::F32));
    const memory::desc proposed = dnnl::matmul::primitive_desc(product, engine_).weights_desc();
    if (proposed == weight(Tag::BA16a64b)) return weight(Tag::BA16a48b);
    if (proposed == weight(Tag::BA16a64b2a)) return weight(Tag::BA16a48b2a);
    return proposed;
  }

  /// packed = weight (n, k), both of dtype t.
  void pack(void* packed, const void* weight, int64_t n, int64_t k, DType t) {
    memory from(matrix(k, n, Transpose::yes, t), engine_, const_cast<void*>(weight));
    memory to(packed_layout(n, k, t), engine_, packed);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

 private:
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory a, b, out;
    dnnl::reorder rearrange;  // of b as it lies; empty where b is read so
    dnnl::memory b_as_it_lies;
  };

  void run(float* out, const void* a, const void* b, const Key& key) {
    Product& p = find(key);
    p.a.set_data_handle(const_cast<void*>(a), stream_);
    if (p.rearrange) {
      p.b.set_data_handle(rearranged_.take<char>(static_cast<int64_t>(p.b.get_desc().get_size())), stream_);
      p.b_as_it_lies.set_data_handle(const_cast<void*>(b), stream_);
      p.rearrange.execute(stream_, p.b_as_it_lies, p.b);
    } else {
      p.b.set_data_handle(const_cast<void*>(b), stream_);
    }
    p.out.set_data_handle(out, stream_);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, p.a.get()}, {DNNL_ARG_WEIGHTS, p.b.get()}, {DNNL_ARG_DST, p.out.get()}};
    dnnl::error::wrap_c_api(dnnl_primitive_execute(p.primitive.get(), stream_.get(), 3, arguments), "matmul");
    stream_.wait();
  }

  Product& find(const Key& key) {
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    if (products_.size() >= kMostProducts) products_.clear();
    return products_.emplace(key, compile(key)).first->second;
  }

  Product compile(const Key& key) const {
    const memory::desc a = matrix(key.m, key.k, key.ta, key.t), out = matrix(key.m, key.n, Transpose::no, DType::F32);
    const memory::desc b = key.b == Layout::packed
                               ? packed_layout(key.n, key.k, key.t)
                               : matrix(key.k, key.n, key.b == Layout::columns ? Transpose::yes : Transpose::no, key.t);
    dnnl::primitive_attr attributes;
    if (key.write == Write::add) {
      dnnl::post_ops add;
      add.append_sum(1.0f);
      attributes.set_post_ops(add);
    }
    const memory::desc wanted =
        key.rearranges() ? memory::desc({key.k, key.n}, onednn(key.t), memory::format_tag::any) : b;
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, wanted, out), attributes, engine_);
    const memory::desc read = description.weights_desc();
    Product p{dnnl::matmul(description),
              memory(a, engine_, nullptr),
              memory(read, engine_, nullptr),
              memory(out, engine_, nullptr),
              {},
              {}};
    if (read != b) {
      p.b_as_it_lies = memory(b, engine_, nullptr);
      p.rearrange = dnnl::reorder(p.b_as_it_lies, p.b);
    }
    return p;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::unordered_map<Key, Product, Hash> products_;
  Scratch rearranged_;
};

CpuBackend::CpuBackend() : products_(std::make_unique<Products>()) {}
CpuBackend::~CpuBackend() = default;

namespace {

/// Up to this many rows of a, dot products beat oneDNN: the time is that of reading b.
constexpr int64_t kFewRows = 4;
constexpr int64_t kFewPackedRows = 2;  // where b is also there packed

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
    multiply_dots<1>(out, a, b, m, n, k, write);
  else if (m == 2)
    multiply_dots<2>(out, a, b, m, n, k, write);
  else
    multiply_dots<4>(out, a, b, m, n, k, write);
}

void multiply_onednn(Products& products, float* out, const void* a, const void* b, const Key& key) {
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

/// Calls f with a T for the numbers that factors in bf16 are kept as.
template <class F>
void with_factor(DType t, const F& f) {
  return t == DType::BF16 ? f(bf16{}) : f(float{});
}

/// Whether oneDNN has instructions for them. Otherwise its products of bf16 factors take five times as long as of
/// floats.
bool has_bf16_products() {
  constexpr auto bf16_set = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bf16_set) == bf16_set;
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
  const Key key{m, n, k, ta, layout, write, factor_dtype_, omp_get_max_threads()};
  if (product_dtype_ == DType::F32) return multiply_onednn(*products_, out, a, b, key);
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
  factor_dtype_ = has_bf16_products() ? t : DType::F32;
  return factor_dtype_ == product_dtype_;
}

int64_t CpuBackend::packed_bytes(int64_t n, int64_t k, DType t) {
  return t == DType::F32 ? static_cast<int64_t>(products_->packed_layout(n, k, factor_dtype_).get_size()) : 0;
}

void CpuBackend::pack(void* packed, const void* weight, int64_t n, int64_t k, DType t) {
  ENSURE(t == DType::F32, "[pack] of ", name(t));
  if (product_dtype_ == DType::F32) return products_->pack(packed, weight, n, k, t);
  with_factor(factor_dtype_, [&]<class T>(T) {
    T* rounded = scratch_.take<T>(n * k);
    round_factors(rounded, static_cast<const float*>(weight), n * k);
    products_->pack(packed, rounded, n, k, factor_dtype_);
  });
}

void CpuBackend::matmul_packed(void* out, const void* a, const void* weight, const void* packed, int64_t m, int64_t n,
                               int64_t k, DType t) {
  ENSURE(t == DType::F32, "[matmul_packed] of ", name(t));
  if (m == 0) return;
  count_product(m, n, k);
  float* to = static_cast<float*>(out);
  const float* left = static_cast<const float*>(a);
  const Key key{m, n, k, Transpose::no, Layout::packed, Write::set, factor_dtype_, omp_get_max_threads()};
  if (product_dtype_ == DType::BF16) {
    with_factor(factor_dtype_, [&]<class T>(T) {
      T* rounded = scratch_.take<T>(m * k);
      round_factors(rounded, left, m * k);
      multiply_onednn(*products_, to, rounded, packed, key);
    });
  } else if (m <= kFewPackedRows) {
    multiply_few(to, left, static_cast<const float*>(weight), m, n, k, Write::set);
  } else {
    multiply_onednn(*products_, to, left, packed, key);
  }
}

}  // namespace thinker
