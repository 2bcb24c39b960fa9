// Products through cuBLASLt. Choosing an algorithm costs more than a small product, so plans are kept by shape.
#pragma once

#include <cublasLt.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "tensor/backend.h"

namespace thinker {

/// Products of the same a by several b of one size, in one kernel: b and out lie the same distances apart, in numbers.
struct MatmulBatch {
  int32_t count = 1;
  int64_t b_apart = 0, out_apart = 0;
  auto operator<=>(const MatmulBatch&) const = default;
};

/// What a plan depends on: sizes, transposes, dtypes, the alignment of the three pointers in bytes, and the batch.
struct MatmulKey {
  int64_t m, n, k;
  Transpose ta, tb;
  DType t, out_t;
  uint32_t align_out, align_a, align_b;
  MatmulBatch batch;
  auto operator<=>(const MatmulKey&) const = default;
};

class Matmul {
 public:
  /// The workspace lies on the device and is only used on the stream; neither is owned.
  Matmul(cudaStream_t stream, void* workspace, int64_t workspace_bytes);

  /// Backend::matmul for m, n, k > 0.
  void run(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb,
           DType t, DType out_t, Write write);
  /// out = a . b^T for several b of (n, k), all of dtype t. False, and nothing done, where cuBLASLt has no kernel that
  /// computes them together.
  bool run_batch(std::span<const LinearProduct> products, const void* a, int64_t m, int64_t k, DType t);

 private:
  struct DestroyHandle {
    void operator()(cublasLtHandle_t h) const { cublasLtDestroy(h); }
  };
  struct DestroyDesc {
    void operator()(cublasLtMatmulDesc_t d) const { cublasLtMatmulDescDestroy(d); }
  };
  struct DestroyLayout {
    void operator()(cublasLtMatrixLayout_t l) const { cublasLtMatrixLayoutDestroy(l); }
  };
  struct DestroyPreference {
    void operator()(cublasLtMatmulPreference_t p) const { cublasLtMatmulPreferenceDestroy(p); }
  };
  template <class Handle, class Destroy>
  using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;
  using Layout = Owned<cublasLtMatrixLayout_t, DestroyLayout>;

  struct Plan {
    Owned<cublasLtMatmulDesc_t, DestroyDesc> desc;
    Layout left, right, out;
    std::optional<cublasLtMatmulAlgo_t> algo;  // nothing where cuBLASLt has none
  };

  const Plan& plan(const MatmulKey& key);
  Plan make_plan(const MatmulKey& key);
  static Layout make_layout(DType t, int64_t rows, int64_t columns, int32_t count, int64_t apart);
  void run(const Plan& plan, void* out, const void* a, const void* b, DType t, Write write);

  cudaStream_t stream_;
  void* workspace_;
  size_t workspace_bytes_;
  Owned<cublasLtHandle_t, DestroyHandle> handle_;
  std::map<MatmulKey, Plan> plans_;
};

}  // namespace thinker
