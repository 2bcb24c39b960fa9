// RMSNorm: y = x * r * w with r = 1 / sqrt(mean(x^2) + eps), saved for backward.
//   dx_c  = r (dy_c w_c - x_c r^2 mean over c of (dy_c w_c x_c)),  dw_c += sum over rows of dy_c x_c r
#include "tensor/cuda/column_sums.cuh"

namespace thinker {

namespace {

// A row has kRowThreads threads: a block, or where rows are short (heads' norms, small models) a warp. Whole warps
// return where a block has more warps than there are rows left.

template <int kRowThreads>
__device__ int64_t own_row() {
  return static_cast<int64_t>(blockIdx.x) * (kThreads / kRowThreads) + threadIdx.x / kRowThreads;
}

/// Calls body(j) for the columns j at which this thread's packs of a row begin.
template <class T, int kRowThreads, class Body>
__device__ void for_row_packs(int64_t c, const Body& body) {
  for (int64_t j = threadIdx.x % kRowThreads * kPack<T>; j < c; j += kRowThreads * kPack<T>) body(j);
}

template <int kRowThreads, class A>
__device__ A row_sum(A x) {
  if constexpr (kRowThreads == kThreads)
    return block_sum(x);
  else
    return warp_sum(x);
}

template <class T, int kRowThreads>
__global__ void rmsnorm_forward_kernel(T* y, Acc<T>* rstd, const T* x, const T* w, int64_t n, int64_t c, double eps) {
  using A = Acc<T>;
  const int64_t row = own_row<kRowThreads>();
  if (row >= n) return;
  x += row * c;
  y += row * c;
  A squares = 0;
  for_row_packs<T, kRowThreads>(c, [&](int64_t j) {
    for (const T& value : load_pack(x, j, c).x) squares += load(&value) * load(&value);
  });
  const A r = 1 / sqrt(row_sum<kRowThreads>(squares) / static_cast<A>(c) + static_cast<A>(eps));
  for_row_packs<T, kRowThreads>(c, [&](int64_t j) {
    const Pack<T> weights = load_pack(w, j, c);
    Pack<T> values = load_pack(x, j, c);
    for (int i = 0; i < kPack<T>; ++i) store(&values.x[i], load(&values.x[i]) * r * load(&weights.x[i]));
    store_pack(y, j, c, values);
  });
  if (threadIdx.x % kRowThreads == 0) rstd[row] = r;
}

template <class T, int kRowThreads>
__global__ void rmsnorm_backward_x_kernel(T* dx, const T* dy, const T* x, const T* w, const Acc<T>* rstd, int64_t n,
                                          int64_t c, Write write) {
  using A = Acc<T>;
  const int64_t row = own_row<kRowThreads>();
  if (row >= n) return;
  dx += row * c;
  dy += row * c;
  x += row * c;
  const A r = rstd[row];
  A products = 0;
  for_row_packs<T, kRowThreads>(c, [&](int64_t j) {
    const Pack<T> upstream = load_pack(dy, j, c), weights = load_pack(w, j, c), values = load_pack(x, j, c);
    for (int i = 0; i < kPack<T>; ++i) products += load(&upstream.x[i]) * load(&weights.x[i]) * load(&values.x[i]);
  });
  const A pull = r * r * row_sum<kRowThreads>(products) / static_cast<A>(c);
  for_row_packs<T, kRowThreads>(c, [&](int64_t j) {
    const Pack<T> upstream = load_pack(dy, j, c), weights = load_pack(w, j, c), values = load_pack(x, j, c);
    Pack<T> result = write == Write::add ? load_pack(dx, j, c) : Pack<T>{};
    for (int i = 0; i < kPack<T>; ++i)
      store(&result.x[i], r * (load(&upstream.x[i]) * load(&weights.x[i]) - load(&values.x[i]) * pull), write);
    store_pack(dx, j, c, result);
  });
}

/// What one row adds to the gradient of w.
template <class T>
struct WeightGradient {
  const T *dy, *x;
  const Acc<T>* rstd;
  int64_t c;
  __device__ Acc<T> operator()(int64_t row, int64_t column) const {
    return load(dy + row * c + column) * load(x + row * c + column) * rstd[row];
  }
};

/// Calls f with the number of threads that a row of c numbers gets, and the blocks that n rows then take.
template <class T, class F>
void with_row_threads(int64_t n, int64_t c, const F& f) {
  constexpr int64_t kRows = kThreads / kWarp;
  if (c <= 4 * kWarp * kPack<T>)
    f(std::integral_constant<int, kWarp>{}, (n + kRows - 1) / kRows);
  else
    f(std::integral_constant<int, kThreads>{}, n);
}

}  // namespace

void CudaBackend::rmsnorm_forward(void* y, void* rstd, const void* x, const void* w, int64_t n, int64_t c, double eps,
                                  DType t) {
  for_dtype("rmsnorm", t, [&]<class T>(Type<T>) {
    with_row_threads<T>(n, c, [&](auto threads, int64_t blocks) {
      CUDA_CHECK(launch(stream(), blocks, rmsnorm_forward_kernel<T, threads.value>, y, rstd, x, w, n, c, eps));
    });
  });
}

void CudaBackend::rmsnorm_backward(void* dx, void* dw, const void* dy, const void* x, const void* w, const void* rstd,
                                   int64_t n, int64_t c, DType t, Write write) {
  for_dtype("rmsnorm", t, [&]<class T>(Type<T>) {
    with_row_threads<T>(n, c, [&](auto threads, int64_t blocks) {
      CUDA_CHECK(
          launch(stream(), blocks, rmsnorm_backward_x_kernel<T, threads.value>, dx, dy, x, w, rstd, n, c, write));
    });
    if (!dw) return;
    const WeightGradient<T> value{static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const Acc<T>*>(rstd),
                                  c};
    add_column_sums<Acc<T>>(stream(), workspace_.get(), kWorkspaceBytes, dw, n, c, value);
  });
}

}  // namespace thinker
