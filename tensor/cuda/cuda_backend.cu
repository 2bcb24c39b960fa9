// The backend itself: finding the GPU, memory, copies and changes of dtype.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/fused_attention.h"
#include "tensor/cuda/kernel.cuh"
#include "tensor/cuda/matmul.h"

namespace thinker {

namespace {

std::string size_in_words(int64_t bytes) {
  return concat(bytes, " bytes (", bytes / (int64_t{1} << 20), " MiB)");
}

/// Null where the GPU has not so much left.
void* device_malloc(int64_t bytes) {
  ENSURE(bytes >= 0, "CUDA: asked for ", bytes, " bytes");
  void* p = nullptr;
  // At least one byte: callers tell buffers apart by their addresses.
  const cudaError_t status = cudaMalloc(&p, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  CUDA_CHECK(status);
  return p;
}

/// more: who has the GPU's memory, and what helps.
[[noreturn]] void out_of_memory(const char* what, int64_t bytes, const std::string& more) {
  size_t left = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&left, &total));
  fail("CUDA: out of memory: ", what, " asked for ", size_in_words(bytes), ", the GPU has ", left / (1 << 20), " of ",
       total / (1 << 20), " MiB left", more, " [", __FILE__, ":", __LINE__, "]");
}

/// Chooses the GPU for this thread and gives its name for reports.
std::string open_gpu(int gpu) {
  CUDA_CHECK(cudaSetDevice(gpu));
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu));
  return properties.name;
}

template <class To, class From>
__global__ void convert_kernel(To* dst, const From* src, int64_t n) {
  const int64_t i = global_thread();
  if (i < n) store(dst + i, static_cast<Acc<To>>(load(src + i)));
}

}  // namespace

CudaStream::CudaStream() {
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaStream::~CudaStream() {
  cudaStreamDestroy(stream_);
}

CudaBuffer::CudaBuffer(const char* what, int64_t bytes) : memory_(device_malloc(bytes)) {
  if (!memory_) out_of_memory(what, bytes, "");
}

CudaBuffer::~CudaBuffer() {
  cudaFree(memory_);
}

PinnedBuffer::PinnedBuffer(int64_t bytes) {
  CUDA_CHECK(cudaMallocHost(&memory_, static_cast<size_t>(bytes)));
}

PinnedBuffer::~PinnedBuffer() {
  cudaFreeHost(memory_);
}

CudaBackend::CudaBackend(int gpu)
    : description_(open_gpu(gpu)),
      workspace_("scratch memory", kWorkspaceBytes),
      staging_(kStagingBytes),
      matmul_(std::make_unique<Matmul>(stream(), workspace_.get(), kWorkspaceBytes)) {}

CudaBackend::~CudaBackend() = default;

int64_t CudaBackend::memory_bytes() const {
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(total);
}

std::string CudaBackend::use_cudnn() {
  std::string why_not;
  fused_attention_ = FusedAttention::open(stream(), why_not);
  if (fused_attention_) description_ += concat(", ", fused_attention_->version());
  return why_not;
}

void* CudaBackend::allocate(int64_t bytes, const char* what) {
  void* p = device_malloc(bytes);
  if (!p)
    out_of_memory(what, bytes,
                  high_water() +
                      "; lower --micro-tokens, set checkpoint_blocks, sample with a smaller k or max_new, or use "
                      "--device cpu");
  Use& use = uses_[what];
  use.now += bytes;
  use.most = std::max(use.most, use.now);
  held_[p] = {&use, bytes};
  return p;
}

void CudaBackend::free(void* p) noexcept {
  cudaFree(p);
  const auto at = held_.find(p);
  if (at == held_.end()) return;
  at->second.use->now -= at->second.bytes;
  held_.erase(at);
}

std::string CudaBackend::high_water() const {
  std::string table;
  for (const auto& [what, use] : uses_)
    table += concat(table.empty() ? " (" : "; ", what, ": ", use.now >> 20, " MiB, at most ", use.most >> 20);
  return table.empty() ? "" : table + ")";
}

void CudaBackend::copy_to_host(void* host_dst, const void* src, int64_t bytes) {
  if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, stream()));
  synchronize();
}

// The caller may reuse its memory at once. A step uploads half a dozen small arrays: waiting for each would leave the
// GPU without work, so they are put aside and the host goes on.
void CudaBackend::copy_from_host(void* dst, const void* host_src, int64_t bytes) {
  if (bytes <= 0) return;
  const bool staged = bytes <= kStagingBytes;
  if (staged) {
    if (staged_ + bytes > kStagingBytes) synchronize();
    host_src = std::memcpy(staging_.get() + staged_, host_src, static_cast<size_t>(bytes));
    staged_ += bytes;
  }
  CUDA_CHECK(cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, stream()));
  if (!staged) synchronize();
}

void CudaBackend::copy(void* dst, const void* src, int64_t bytes) {
  if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream()));
}

void CudaBackend::fill_zero(void* dst, int64_t bytes) {
  if (bytes > 0) CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, stream()));
}

void CudaBackend::synchronize() {
  CUDA_CHECK(cudaStreamSynchronize(stream()));
  staged_ = 0;
}

void CudaBackend::convert(void* dst, const void* src, int64_t n, DType dst_t, DType src_t) {
  for_dtype("convert", dst_t, [&]<class To>(Type<To>) {
    for_dtype("convert", src_t, [&]<class From>(Type<From>) {
      CUDA_CHECK(launch(stream(), blocks_for(n), convert_kernel<To, From>, dst, src, n));
    });
  });
}

std::unique_ptr<Backend> make_cuda_backend(NoCuda& why_not) {
  int gpus = 0;
  cudaError_t status = cudaGetDeviceCount(&gpus);
  if (status == cudaSuccess && gpus == 0) status = cudaErrorNoDevice;
  if (status != cudaSuccess) {
    cudaGetLastError();
    int driver = 0;  // stays 0 where no driver is installed
    const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    why_not = {
        has_driver ? concat("no GPU can be used: ", cudaGetErrorString(status)) : "no NVIDIA driver is installed",
        has_driver && status != cudaErrorNoDevice};
    return nullptr;
  }
  std::unique_ptr<CudaBackend> backend;
  try {
    backend = std::make_unique<CudaBackend>(0);
  } catch (const Error& e) {  // another process has the GPU for itself, or all of its memory
    cudaGetLastError();
    why_not = {concat("the GPU cannot be used: ", e.what(), "; CUDA_VISIBLE_DEVICES=1 takes a second one"), true};
    return nullptr;
  }
  // A GPU older than the ones that this program was built for has none of its kernels, an old driver cannot load them.
  cudaFuncAttributes attributes;
  status = cudaFuncGetAttributes(&attributes, convert_kernel<float, float>);
  if (status != cudaSuccess) {
    cudaGetLastError();
    why_not = {concat("this program has no kernels for the GPU here: ", cudaGetErrorString(status)), true};
    return nullptr;
  }
  if (const std::string no_cudnn = backend->use_cudnn(); !no_cudnn.empty())
    std::fprintf(stderr, "attention is our own throughout: cuDNN: %s\n", no_cudnn.c_str());
  return backend;
}

}  // namespace thinker
