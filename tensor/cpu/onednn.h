// Products of F32 and BF16 factors by oneDNN, whose primitives are compiled for a shape and kept. For matmul.cpp, the
// one file that includes oneDNN.
#pragma once

#include <dnnl.hpp>
#include <unordered_map>

#include "tensor/backend.h"
#include "tensor/cpu/parallel.h"

namespace thinker {

/// How the right factor (K, N) lies in memory: row by row, column by column, or as pack() left it.
enum class Layout { rows, columns, packed };

/// Everything that a compiled product depends on.
struct ProductKey {
  int64_t m, n, k;
  Transpose ta;
  Layout b;
  Write write;
  DType t;  // of both factors
  int threads;

  bool operator==(const ProductKey&) const = default;

  /// Whether b is rearranged into oneDNN's own layout first, which takes its time once for all m rows. oneDNN reads
  /// rows as they lie, and long ones (1,024 numbers and more) meet in the same few places of the nearest cache: such
  /// products ran at 45 to 75 % of the others' speed. Columns it rearranges itself, more slowly.
  bool rearranges() const {
    if (t != DType::F32 || b == Layout::packed) return false;
    return b == Layout::columns ? m >= 1024 : m >= 1536 || (m >= 256 && n >= 1024);
  }
};

struct ProductHash {
  size_t operator()(const ProductKey& key) const {
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

inline dnnl::memory::data_type onednn(DType t) {
  return t == DType::BF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

inline dnnl::memory::desc matrix(int64_t rows, int64_t cols, Transpose transpose, DType t) {
  return {
      {rows, cols}, onednn(t), transpose == Transpose::yes ? dnnl::memory::dims{1, rows} : dnnl::memory::dims{cols, 1}};
}

/// Whether oneDNN may use these instructions here.
inline bool onednn_has(dnnl::cpu_isa isa) {
  const auto wanted = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

class Products {
  using memory = dnnl::memory;

 public:
  Products() { dnnl::set_primitive_cache_capacity(0); }  // oneDNN's own, which searches itself for what to drop

  /// out (m, n) = a (m, k) . b (k, n).
  void multiply(float* out, const void* a, const void* b, const ProductKey& key) {
    const bool sums_rows = key.ta == Transpose::yes;  // a weight's gradient: rows of a and b meet
    const int64_t rows = sums_rows ? key.k : key.m, whole = rows / kCut * kCut;
    const bool is_small = 2.0 * static_cast<double>(key.m * key.n * key.k) < kSmall;
    if (!is_small || whole == 0 || whole == rows || (sums_rows && key.b != Layout::rows)) return run(out, a, b, key);
    const auto skip = [&](const void* p, int64_t row) {
      return static_cast<const char*>(p) + whole * row * size_of(key.t);
    };
    ProductKey first = key, rest = key;
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

  void run(float* out, const void* a, const void* b, const ProductKey& key) {
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

  Product& find(const ProductKey& key) {
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    if (products_.size() >= kMostProducts) products_.clear();
    return products_.emplace(key, compile(key)).first->second;
  }

  Product compile(const ProductKey& key) const {
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
  std::unordered_map<ProductKey, Product, ProductHash> products_;
  Scratch rearranged_;
};

}  // namespace thinker
