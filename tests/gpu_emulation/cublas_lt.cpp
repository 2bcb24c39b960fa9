// Column-major products, number by number: d = alpha op(a) op(b) + beta c.
#include <cublasLt.h>

#include <cstring>

#include "tensor/dtype.h"
#include "tests/gpu_emulation/stream.h"

namespace emulation {

struct MatmulHandle {};
struct MatmulDesc {
  bool f64;
  cublasOperation_t op_a = CUBLAS_OP_N, op_b = CUBLAS_OP_N;
};
struct MatrixLayout {
  cudaDataType_t type;
  int64_t rows, columns, ld;
  int32_t count = 1;
  int64_t apart = 0;

  int64_t rows_as(cublasOperation_t op) const { return op == CUBLAS_OP_N ? rows : columns; }
  int64_t columns_as(cublasOperation_t op) const { return op == CUBLAS_OP_N ? columns : rows; }
};
struct MatmulPreference {
  cublasLtMatmulAlgo_t algo{256, 256, 256, 256};
};

namespace {

double number(const void* p, cudaDataType_t type, int64_t i) {
  switch (type) {
    case CUDA_R_64F: return static_cast<const double*>(p)[i];
    case CUDA_R_32F: return static_cast<const float*>(p)[i];
    default: return thinker::to_float(static_cast<const thinker::bf16*>(p)[i]);
  }
}

void set_number(void* p, cudaDataType_t type, int64_t i, double x) {
  switch (type) {
    case CUDA_R_64F: static_cast<double*>(p)[i] = x; break;
    case CUDA_R_32F: static_cast<float*>(p)[i] = static_cast<float>(x); break;
    default: static_cast<thinker::bf16*>(p)[i] = thinker::to_bf16(static_cast<float>(x));
  }
}

/// op(matrix) as rows of numbers.
template <class T>
std::vector<T> rows_of(const void* p, const MatrixLayout& layout, cublasOperation_t op) {
  const int64_t rows = layout.rows_as(op), columns = layout.columns_as(op);
  std::vector<T> out(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      out[static_cast<size_t>(i * columns + j)] =
          static_cast<T>(number(p, layout.type, op == CUBLAS_OP_N ? j * layout.ld + i : i * layout.ld + j));
  return out;
}

cublasOperation_t turned(cublasOperation_t op) {
  return op == CUBLAS_OP_N ? CUBLAS_OP_T : CUBLAS_OP_N;
}

template <class T>
void multiply(const MatmulDesc& desc, T alpha, const void* a, const MatrixLayout& a_layout, const void* b,
              const MatrixLayout& b_layout, T beta, const void* c, const MatrixLayout& c_layout, void* d,
              const MatrixLayout& d_layout) {
  const std::vector<T> left = rows_of<T>(a, a_layout, desc.op_a), right = rows_of<T>(b, b_layout, turned(desc.op_b));
  const int64_t depth = a_layout.columns_as(desc.op_a);
#pragma omp parallel for
  for (int64_t j = 0; j < d_layout.columns; ++j)
    for (int64_t i = 0; i < d_layout.rows; ++i) {
      T sum = 0;
      const T *x = left.data() + i * depth, *y = right.data() + j * depth;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < depth; ++k) sum += x[k] * y[k];
      sum *= alpha;
      if (beta != 0) sum += beta * static_cast<T>(number(c, c_layout.type, j * c_layout.ld + i));
      set_number(d, d_layout.type, j * d_layout.ld + i, sum);
    }
}

template <class Handle, class... Arguments>
cublasStatus_t create(Handle** handle, Arguments... arguments) {
  *handle = new Handle{arguments...};
  return CUBLAS_STATUS_SUCCESS;
}
template <class Handle>
cublasStatus_t destroy(Handle* handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

/// Matrix i of a batch.
template <class Pointer>
Pointer of_batch(Pointer p, const MatrixLayout& layout, int32_t i) {
  const int64_t bytes = layout.type == CUDA_R_64F ? 8 : layout.type == CUDA_R_32F ? 4 : 2;
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const char, char>;
  return static_cast<Byte*>(p) + i * layout.apart * bytes;
}

bool aligned(const void* p, uint32_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

}  // namespace

}  // namespace emulation

using namespace emulation;

const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "an invalid value";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return create(handle);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  const bool f64 = compute == CUBLAS_COMPUTE_64F;
  if (scale != (f64 ? CUDA_R_64F : CUDA_R_32F)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return create(desc, f64);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return destroy(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  cublasOperation_t& op = attribute == CUBLASLT_MATMUL_DESC_TRANSA ? desc->op_a : desc->op_b;
  if (bytes != sizeof op) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&op, value, sizeof op);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  if (ld < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  return create(layout, type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  const bool counts = attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
  if (bytes != (counts ? sizeof layout->count : sizeof layout->apart)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(counts ? static_cast<void*>(&layout->count) : &layout->apart, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  const auto set = [&](uint32_t& alignment) {
    if (bytes != sizeof alignment) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&alignment, value, sizeof alignment);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(preference->algo.align_a);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(preference->algo.align_b);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(preference->algo.align_c);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(preference->algo.align_d);
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return bytes == 8 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    default: return bytes == 4 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  const bool sizes = a->columns_as(desc->op_a) == b->rows_as(desc->op_b) && a->rows_as(desc->op_a) == d->rows &&
                     b->columns_as(desc->op_b) == d->columns && c->rows == d->rows && c->columns == d->columns &&
                     a->count == d->count && b->count == d->count && c->count == d->count;
  if (!sizes) return CUBLAS_STATUS_INVALID_VALUE;
  const bool wide = d->type == CUDA_R_32F && a->type == CUDA_R_16BF;  // sums of bf16 products may stay fp32
  const bool types =
      a->type == b->type && c->type == d->type && (d->type == a->type || wide) && (a->type == CUDA_R_64F) == desc->f64;
  *found = types ? 1 : 0;
  results->algo = preference->algo;
  results->state = types ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
  return types ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void*, size_t,
                              cudaStream_t stream) {
  if (!aligned(a, algo->align_a) || !aligned(b, algo->align_b) || !aligned(c, algo->align_c) ||
      !aligned(d, algo->align_d))
    return CUBLAS_STATUS_INVALID_VALUE;
  const auto enqueue = [&]<class T>(T) {
    stream->add([=, desc = *desc, al = *a_layout, bl = *b_layout, cl = *c_layout, dl = *d_layout,
                 alpha = *static_cast<const T*>(alpha), beta = *static_cast<const T*>(beta)] {
      for (int32_t i = 0; i < dl.count; ++i)
        multiply<T>(desc, alpha, of_batch(a, al, i), al, of_batch(b, bl, i), bl, beta, of_batch(c, cl, i), cl,
                    of_batch(d, dl, i), dl);
    });
  };
  desc->f64 ? enqueue(double{}) : enqueue(float{});
  return CUBLAS_STATUS_SUCCESS;
}
