// Matrix products. F32 goes to oneDNN, whose primitives are compiled for a shape and kept; few rows against a large
// weight, where the time is that of reading the weight, go to a loop of our own. F64 (gradient checks) is ours too.
// The one file that includes oneDNN.
#include <dnnl.hpp>
#include <unordered_map>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/product.h"

namespace thinker {

namespace {

/// Everything that a compiled product depends on.
struct Key {
  int64_t m, n, k;
  Transpose ta, tb;
  Write write;
  int threads;

  bool operator==(const Key&) const = default;
};

struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0;
    for (int64_t x :
         {key.m, key.n, key.k, int64_t{key.threads},
          int64_t{4 * (key.ta == Transpose::yes) + 2 * (key.tb == Transpose::yes) + (key.write == Write::add)}})
      h = (h ^ static_cast<uint64_t>(x)) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 32);
  }
};

constexpr size_t kMostProducts = 512;  // kept; the lengths of sequences vary without end

}  // namespace

class Products {
 public:
  void multiply(float* out, const float* a, const float* b, const Key& key) {
    Product& p = find(key);
    p.a.set_data_handle(const_cast<float*>(a), stream_);
    p.b.set_data_handle(const_cast<float*>(b), stream_);
    p.out.set_data_handle(out, stream_);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, p.a.get()}, {DNNL_ARG_WEIGHTS, p.b.get()}, {DNNL_ARG_DST, p.out.get()}};
    dnnl::error::wrap_c_api(dnnl_primitive_execute(p.primitive.get(), stream_.get(), 3, arguments), "matmul");
    stream_.wait();
  }

 private:
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory a, b, out;
  };

  Product& find(const Key& key) {
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    if (products_.size() >= kMostProducts) products_.clear();
    return products_.emplace(key, compile(key)).first->second;
  }

  Product compile(const Key& key) const {
    using dnnl::memory;
    const auto layout = [](int64_t rows, int64_t cols, Transpose transpose) {
      return memory::desc({rows, cols}, memory::data_type::f32,
                          transpose == Transpose::yes ? memory::dims{1, rows} : memory::dims{cols, 1});
    };
    const memory::desc a = layout(key.m, key.k, key.ta), b = layout(key.k, key.n, key.tb),
                       out = layout(key.m, key.n, Transpose::no);
    dnnl::primitive_attr attributes;
    if (key.write == Write::add) {
      dnnl::post_ops add;
      add.append_sum(1.0f);
      attributes.set_post_ops(add);
    }
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, out), attributes, engine_);
    return {dnnl::matmul(description), memory(a, engine_, nullptr), memory(b, engine_, nullptr),
            memory(out, engine_, nullptr)};
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::unordered_map<Key, Product, Hash> products_;
};

CpuBackend::CpuBackend() : products_(std::make_unique<Products>()) {}
CpuBackend::~CpuBackend() = default;

namespace {

/// Up to this many rows of a, dot products beat oneDNN: the time is that of reading b.
constexpr int64_t kFewRows = 4;

/// out (m, n) = a (m, k) . b (n, k)^T by dot products: b is read once, row after row.
template <int A>
void multiply_few(float* out, const float* a, const float* b, int64_t m, int64_t n, int64_t k, Write write) {
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
  if (k == 0) {
    if (write == Write::set) fill_zero(out, m * n * size_of(t));
    return;
  }
  with_scalar("matmul", t, [&]<class T>(T) {
    T* to = static_cast<T*>(out);
    const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
    if constexpr (std::is_same_v<T, double>) {
      multiply_plain(to, left, right, m, n, k, ta, tb, write, scratch_);
    } else if (m <= kFewRows && ta == Transpose::no && tb == Transpose::yes) {
      if (m == 1)
        multiply_few<1>(to, left, right, m, n, k, write);
      else if (m == 2)
        multiply_few<2>(to, left, right, m, n, k, write);
      else
        multiply_few<4>(to, left, right, m, n, k, write);
    } else {
      try {
        products_->multiply(to, left, right, {m, n, k, ta, tb, write, omp_get_max_threads()});
      } catch (const dnnl::error& e) {
        fail("[matmul] oneDNN refused (", m, ", ", k, ") x (", k, ", ", n, "): ", e.what());
      }
    }
  });
}

}  // namespace thinker
