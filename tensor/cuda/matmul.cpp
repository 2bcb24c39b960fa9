// Backend::matmul by cuBLASLt, whose matrices are column-major. A row-major (R, S) array is a column-major (S, R)
// matrix with leading dimension S, so the row-major product out = op(a) op(b) is asked for as out^T = op(b)^T op(a)^T:
// b goes left, a goes right, and a transpose flag means the same as in row-major. fp32 products accumulate in plain
// fp32 (no TF32), bf16 products in fp32, f64 products in f64.
#include "tensor/cuda/matmul.h"

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/cuda_check.h"

namespace thinker {

/// CUDA_CHECK for calls of cuBLASLt.
static void check_cuda(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail("cuBLASLt: ", cublasLtGetStatusString(status), " (", cublasLtGetStatusName(status), ") in ", call, " [", file,
       ":", line, "]");
}

namespace {

// Packed batches have ever new row counts; the table of plans starts again when it has grown this large.
constexpr size_t kMaxPlans = 4096;

cudaDataType_t cuda_type(DType t) {
  switch (t) {
    case DType::F32: return CUDA_R_32F;
    case DType::F64: return CUDA_R_64F;
    case DType::BF16: return CUDA_R_16BF;
    default: break;
  }
  fail("[matmul] has no CUDA kernel for dtype ", name(t));
}

/// The largest power of two, up to 64, that divides the address. cuBLASLt otherwise assumes 256, which a row inside a
/// matrix need not have. 64 is what the arena promises: with more, the algorithm, and with it the last bits, would
/// depend on where the arena put the operands.
uint32_t alignment(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p) | 64;
  return static_cast<uint32_t>(address & (~address + 1));
}

}  // namespace

Matmul::Matmul(cudaStream_t stream, void* workspace, int64_t workspace_bytes)
    : stream_(stream), workspace_(workspace), workspace_bytes_(static_cast<size_t>(workspace_bytes)) {
  cublasLtHandle_t handle = nullptr;
  CUDA_CHECK(cublasLtCreate(&handle));
  handle_.reset(handle);
}

/// A row-major (rows, columns) array, as the column-major matrix that cuBLASLt takes it for; `count` of them, `apart`
/// numbers from each other.
Matmul::Layout Matmul::make_layout(DType t, int64_t rows, int64_t columns, int32_t count, int64_t apart) {
  cublasLtMatrixLayout_t raw = nullptr;
  CUDA_CHECK(cublasLtMatrixLayoutCreate(&raw, cuda_type(t), static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                                        columns));
  Layout layout(raw);
  if (count == 1) return layout;
  CUDA_CHECK(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  CUDA_CHECK(cublasLtMatrixLayoutSetAttribute(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &apart, sizeof apart));
  return layout;
}

Matmul::Plan Matmul::make_plan(const MatmulKey& key) {
  const bool f64 = key.t == DType::F64;
  Plan plan;
  cublasLtMatmulDesc_t desc = nullptr;
  CUDA_CHECK(
      cublasLtMatmulDescCreate(&desc, f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F, f64 ? CUDA_R_64F : CUDA_R_32F));
  plan.desc.reset(desc);
  const cublasOperation_t left = key.tb == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t right = key.ta == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
  CUDA_CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left));
  CUDA_CHECK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right));
  const auto layout = [&](DType t, int64_t rows, int64_t columns, Transpose turned, int64_t apart) {
    if (turned == Transpose::yes) std::swap(rows, columns);
    return make_layout(t, rows, columns, key.batch.count, apart);
  };
  plan.left = layout(key.t, key.k, key.n, key.tb, key.batch.b_apart);
  plan.right = layout(key.t, key.m, key.k, key.ta, 0);
  plan.out = layout(key.out_t, key.m, key.n, Transpose::no, key.batch.out_apart);

  cublasLtMatmulPreference_t raw = nullptr;
  CUDA_CHECK(cublasLtMatmulPreferenceCreate(&raw));
  const Owned<cublasLtMatmulPreference_t, DestroyPreference> preference(raw);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    CUDA_CHECK(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof value));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.align_b);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.align_a);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.align_out);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.align_out);
  // A product that is split along K adds its parts in fp32: never rounded to bf16 on the way.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));

  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_.get(), desc, plan.left.get(), plan.right.get(),
                                                               plan.out.get(), plan.out.get(), raw, 1, &found, &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) CUDA_CHECK(status);
  // Only a state of success says that the algorithm is one.
  if (status == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS) plan.algo = found.algo;
  return plan;
}

const Matmul::Plan& Matmul::plan(const MatmulKey& key) {
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  if (plans_.size() >= kMaxPlans) plans_.clear();
  return plans_.emplace(key, make_plan(key)).first->second;
}

void Matmul::run(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb,
                 DType t, DType out_t, Write write) {
  const Plan& p = plan({m, n, k, ta, tb, t, out_t, alignment(out), alignment(a), alignment(b), {}});
  if (!p.algo)
    fail("[matmul] cuBLASLt has no algorithm for (", m, ", ", k, ") . (", k, ", ", n, ") in ", name(t), " to ",
         name(out_t));
  run(p, out, a, b, t, write);
}

bool Matmul::run_batch(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t) {
  const auto apart = [&](const void* first, const void* second) {
    return (static_cast<const char*>(second) - static_cast<const char*>(first)) / size_of(t);
  };
  const LinearProduct &first = products[0], &second = products[1];
  const MatmulBatch batch{static_cast<int32_t>(products.size()), apart(first.weight, second.weight),
                          apart(first.out, second.out)};
  uint32_t align_out = 64, align_b = 64;
  for (const LinearProduct& p : products) {
    align_out = std::min(align_out, alignment(p.out));
    align_b = std::min(align_b, alignment(p.weight));
  }
  const Plan& p = plan({m, first.n, k, Transpose::no, Transpose::yes, t, t, align_out, alignment(a), align_b, batch});
  if (p.algo) run(p, first.out, a, first.weight, t, Write::set);
  return p.algo.has_value();
}

void Matmul::run(const Plan& p, void* out, const void* a, const void* b, DType t, Write write) {
  // The factors have the type of the accumulator.
  const float alpha = 1, beta = write == Write::add ? 1 : 0;
  const double alpha64 = alpha, beta64 = beta;
  const bool f64 = t == DType::F64;
  CUDA_CHECK(cublasLtMatmul(handle_.get(), p.desc.get(), f64 ? static_cast<const void*>(&alpha64) : &alpha, b,
                            p.left.get(), a, p.right.get(), f64 ? static_cast<const void*>(&beta64) : &beta, out,
                            p.out.get(), out, p.out.get(), &*p.algo, workspace_, workspace_bytes_, stream_));
}

void CudaBackend::matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta,
                         Transpose tb, DType t, DType out_t, Write write) {
  ENSURE(out_t == t || out_t == accumulator_of(t), "[matmul] ", name(t), " into ", name(out_t));
  if (m == 0 || n == 0) return;
  if (k == 0) {  // a sum of nothing
    if (write == Write::set) fill_zero(out, m * n * size_of(out_t));
    return;
  }
  matmul_->run(out, a, b, m, n, k, ta, tb, t, out_t, write);
}

namespace {

/// How many products from the first on can be one batch: of one size, the weights (weight_bytes each) one after the
/// other, as a model that was loaded has them, so that a plan serves all layers; and the results the same way apart.
size_t batch_of(std::span<const LinearProduct> products, int64_t weight_bytes) {
  const auto apart = [](const void* first, const void* second) {
    return reinterpret_cast<intptr_t>(second) - reinterpret_cast<intptr_t>(first);
  };
  size_t count = 1;
  for (; count < products.size(); ++count) {
    const LinearProduct &last = products[count - 1], &next = products[count];
    const intptr_t outs = apart(last.out, next.out);
    if (next.n != last.n || apart(last.weight, next.weight) != weight_bytes || outs <= 0 ||
        outs != apart(products[0].out, products[1].out))
      break;
  }
  return count;
}

}  // namespace

void CudaBackend::matmul_weights(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k,
                                 DType t) {
  while (!products.empty()) {
    const int64_t weight_bytes = products[0].n * k * size_of(t);
    size_t count = m > 0 && weight_bytes > 0 ? batch_of(products, weight_bytes) : 1;
    if (count > 1 && !matmul_->run_batch(products.first(count), a, m, k, t)) count = 1;
    if (count == 1)
      matmul(products[0].out, a, products[0].weight, m, products[0].n, k, Transpose::no, Transpose::yes, t, t,
             Write::set);
    products = products.subspan(count);
  }
}

}  // namespace thinker
